"""Vectors by hashing: of length one, the same every time, close where words are shared."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.demo.embedding import DIMENSIONS, embed
from proxy.demo.language_model import split


def similarity(one: str, other: str) -> float:
    return sum(a * b for a, b in zip(embed(split(one)), embed(split(other)), strict=True))


@given(st.text(), st.integers(-5, 100))
def test_always_of_length_one(text: str, dimensions: int):
    vector = embed(split(text), dimensions)
    assert math.hypot(*vector) == pytest.approx(1.0)
    assert len(vector) == (dimensions if 0 < dimensions < DIMENSIONS else DIMENSIONS)


def test_the_same_every_time():
    # Not Python's own hash, which differs from run to run.
    vector = embed(["soup"])
    assert vector[60] == pytest.approx(-1 / math.hypot(0.1, 1))
    assert sum(value != 0 for value in vector) == 2


def test_shared_words_bring_texts_together():
    soup = "a good soup needs time"
    assert similarity(soup, soup) == pytest.approx(1.0)
    assert similarity(soup, "the soup needs salt") > similarity(soup, "rain falls on hills") + 0.2


def test_spaces_and_capitals_do_not_matter():
    assert embed(["The", " cat"]) == embed([" the", " ", "Cat"])
