"""Pure. Texts to short vectors by hashing their words: texts that share words lie close together. A demo."""

from __future__ import annotations

import math
import zlib

DIMENSIONS = 64


def embed(pieces: list[str], dimensions: int = DIMENSIONS) -> list[float]:
    """A vector of length 1; `dimensions` beyond the native ones, or below 1, are taken as the native ones."""
    vector = [0.0] * DIMENSIONS
    # Words may cancel each other out; with a fraction in it no vector is ever without a direction.
    vector[0] = 0.1
    for piece in pieces:
        word = piece.strip().lower()
        if word:
            digest = zlib.crc32(word.encode())
            vector[digest % DIMENSIONS] += 1.0 if digest & 0x80000000 else -1.0
    if 0 < dimensions < DIMENSIONS:
        vector = vector[:dimensions]
    norm = math.hypot(*vector)
    return [value / norm for value in vector]
