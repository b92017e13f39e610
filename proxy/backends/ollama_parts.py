"""Pure. A message's content for Ollama: one string, and media as plain base64 beside it."""

from __future__ import annotations

import string
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

from proxy.backends.losses import Losses, wrong
from proxy.errors import BadBody, Unsupported

JOINER = "\n"
"""Between text parts. It keeps the last word of one part and the first of the next apart, and is what
`proxy.openai.messages.text` shows to rules, so that these and the model read the same text."""

_ALPHABET = (string.ascii_letters + string.digits + "+/").encode()
_INLINE = "send it inline as a data URL: data:image/png;base64,<the file in base64>"

Kind = Literal["text", "image", "audio"]

Part = tuple[Kind, str]
"""(kind, text or base64)"""


def read_content(content: Any, path: str, losses: Losses) -> tuple[str, list[Part]]:
    """The text and the media of a `content` at `path`. `None` is no text.

    Raises `BadBody` for a wrong shape or bad base64, `Unsupported` for what Ollama cannot be given.
    """
    if content is None or isinstance(content, str):
        return content or "", []
    if not isinstance(content, list):
        raise wrong(path, "a string, a list of parts or null", content)
    parts = [_part(part, f"{path}[{index}]", losses) for index, part in enumerate(content)]
    texts = [words for kind, words in parts if kind == "text"]
    if len(texts) < len(parts):
        _note_order(parts, path, losses)
    return JOINER.join(texts), [part for part in parts if part[0] != "text"]


def standard_base64(text: Any, path: str) -> str:
    """Base64 in the standard alphabet, with its padding mended; Ollama answers 400 to anything else."""
    if not isinstance(text, str):
        raise wrong(path, "a string of base64", text)
    data = text.encode("ascii", "replace").translate(None, b"\r\n").rstrip(b"=")
    if not data or len(data) % 4 == 1 or data.translate(None, _ALPHABET):
        raise BadBody(f"{path} is not base64 in the standard alphabet (A-Z a-z 0-9 + /)", param=path)
    return data.decode() + "=" * (-len(data) % 4)


def _part(part: Any, path: str, losses: Losses) -> Part:
    if not isinstance(part, dict):
        raise wrong(path, "an object with a type", part)
    kind = str(part.get("type"))
    reader = _READERS.get(kind)
    if reader is None:
        accepted = ", ".join(kind for kind in _READERS if kind != "file")
        raise BadBody(f"{path}.type is not one that Ollama can be given; accepted: {accepted}", param=path)
    losses.note_unread(path, part, frozenset(("type", kind)))
    return reader(part.get(kind), f"{path}.{kind}", losses)


def _text(value: Any, path: str, losses: Losses) -> Part:
    if not isinstance(value, str):
        raise wrong(path, "a string", value)
    return "text", value


def _image(value: Any, path: str, losses: Losses) -> Part:
    if isinstance(value, dict):
        path += ".url"
        if value.get("detail") not in (None, "auto"):
            losses.note(f"{path[:-4]}.detail", "ollama has no such field, lost")
        value = value.get("url")
    if not isinstance(value, str):
        raise wrong(path, "a data URL", value)
    scheme, _, rest = value.partition(":")
    if scheme.lower() in ("http", "https"):
        raise Unsupported(f"{path}: Ollama fetches no images; {_INLINE}", param=path)
    head, _, data = rest.partition(",")
    if scheme.lower() != "data" or not head.rstrip().lower().endswith(";base64"):
        raise BadBody(f"{path} is not a base64 data URL; {_INLINE}", param=path)
    return "image", standard_base64(data, path)


def _audio(value: Any, path: str, losses: Losses) -> Part:
    if not isinstance(value, dict):
        raise wrong(path, "an object with data and format", value)
    if value.get("format"):
        losses.note(f"{path}.format", "ollama takes audio without a format, left out")
    return "audio", standard_base64(value.get("data"), f"{path}.data")


def _file(value: Any, path: str, losses: Losses) -> Part:
    raise Unsupported(f"{path}: Ollama takes no files; send the text of the file as a text part", param=path)


_READERS: dict[str, Callable[[Any, str, Losses], Part]] = {
    "text": _text,
    "refusal": _text,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
}


def _note_order(parts: list[Part], path: str, losses: Losses) -> None:
    """Media before or after all text read the same; media among text lose their place."""
    media = [kind != "text" for kind, _ in parts]
    if sum(before != after for before, after in pairwise(media)) > 1:
        losses.note(path, "ollama keeps images apart from text, their places among the text are lost")
