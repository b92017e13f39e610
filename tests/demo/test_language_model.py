"""The n-gram: exact pieces, whole distributions, answers that relate to their prompt, and its speed."""

import math
import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.demo.language_model import (
    END,
    END_PIECE,
    START,
    UNKNOWN,
    Focus,
    LanguageModel,
    prompt_words,
    split,
)

PASSAGES = """Q: What do cats like?
The cat likes milk. The cat sleeps.
---
The dog likes bones. The dog runs
and barks.

It never sleeps.
"""


@pytest.fixture
def small() -> LanguageModel:
    return LanguageModel(PASSAGES)


def shares(logits: list[float]) -> list[float]:
    return [math.exp(logit) / len(logits) for logit in logits]


def greedy(model: LanguageModel, prompt: str, limit: int = 200) -> str:
    focus, context, pieces = model.focus(split(prompt)), model.context([]), []
    while len(pieces) < limit:
        logits = model.logits(context, focus)
        token = logits.index(max(logits))
        if token == END:
            break
        pieces.append(model.piece(token))
        context = model.extend(context, token)
    return "".join(pieces)


class TestPieces:
    def test_words_carry_the_space_before_them(self):
        assert split("The cat, don't you see?") == ["The", " cat", ",", " don't", " you", " see", "?"]

    def test_blank_lines_digits_and_markers_are_pieces(self):
        assert split("a\n\nb 2026<|user|>\n") == ["a", "\n\n", "b", " 202", "6", "<|user|>", "\n"]

    @given(st.text())
    def test_joined_they_are_the_text(self, text: str):
        assert "".join(split(text)) == text

    @given(st.text(alphabet=st.sampled_from("ab' _-.,\n\t<|>é²9١ß\u00a0\u2028😀"), max_size=80))
    def test_joined_they_are_the_text_for_awkward_alphabets(self, text: str):
        assert "".join(split(text)) == text

    @given(st.text())
    def test_none_is_empty_or_long(self, text: str):
        assert all(1 <= len(piece) <= 25 for piece in split(text))


class TestPromptWords:
    def test_function_words_weigh_little_and_marks_nothing(self):
        assert prompt_words(split("I bake the bread?")) == {"i": 0.05, "bake": 1.0, "the": 0.05, "bread": 1.0}

    def test_plurals_and_capitals_are_one_word(self):
        assert prompt_words(split("Cats CAT glass")) == {"cat": 1.0, "glass": 1.0}

    def test_earlier_messages_weigh_less(self):
        pieces = split(
            "<|system|>\nsnow\n<|user|>\nbread rain\n<|assistant|>\ntea\n<|user|>\nrain\n<|assistant|>\n"
        )
        words = prompt_words(pieces)
        assert words["rain"] == 1.0
        assert words["tea"] == pytest.approx(0.1)
        assert words["bread"] == pytest.approx(0.01)
        assert words["snow"] == pytest.approx(0.001)


class TestBuilding:
    def test_vocabulary_is_what_is_spoken_most_frequent_first(self, small: LanguageModel):
        assert small.vocabulary[END] == END_PIECE
        assert small.vocabulary[1] == "."
        assert " milk" in small.vocabulary
        assert "What" not in small.vocabulary

    def test_lines_of_a_paragraph_are_joined_and_paragraphs_kept(self, small: LanguageModel):
        assert "\n\n" in small.vocabulary
        assert "\n" not in small.vocabulary
        assert " and" in small.vocabulary

    def test_encode_and_decode(self, small: LanguageModel):
        tokens = small.encode([" cat", "zebra", "."])
        assert tokens[1] == UNKNOWN
        assert small.decode(tokens) == [" cat", "."]
        assert small.decode([END, START, UNKNOWN, 10_000]) == []

    def test_shipped_corpus_is_small_clean_and_builds_at_once(self, corpus: str):
        assert 25_000 < len(corpus.encode()) < 45_000
        assert corpus.isascii()
        assert not re.search(r"[ \t]\n|  ", corpus)
        started = time.process_time()
        model = LanguageModel(corpus)
        assert time.process_time() - started < 0.3
        assert len(model.vocabulary) > 1000
        assert model.parameter_count > 10 * len(model.vocabulary)

    def test_every_passage_of_the_shipped_corpus_can_be_asked_for(self, corpus: str):
        blocks = corpus.split("\n---\n")
        assert len(blocks) > 80
        assert all(block.strip().startswith("Q: ") and "\n" in block.strip() for block in blocks)


class TestContext:
    def test_nothing_said_is_the_start(self, small: LanguageModel):
        assert small.context([]) == (START,)

    def test_keeps_three(self, small: LanguageModel):
        tokens = small.encode(split("The cat likes milk"))
        assert len(small.context(tokens)) == 3
        assert small.context(tokens) == small.context(tokens[1:])

    def test_a_capital_at_the_start_is_the_word_within(self, model: LanguageModel):
        first, within = model.encode(["The", " The"])
        assert first != within
        assert model.context([first]) == model.context([within])

    def test_unknown_pieces_pass_through(self, small: LanguageModel):
        assert small.context([UNKNOWN, UNKNOWN]) == (UNKNOWN, UNKNOWN)


class TestLogits:
    def test_a_distribution_over_the_whole_vocabulary(self, small: LanguageModel):
        focus = small.focus(split("What about the cat?"))
        context = small.context([])
        for _ in range(8):
            logits = small.logits(context, focus)
            assert len(logits) == len(small.vocabulary)
            assert sum(shares(logits)) == pytest.approx(1.0)
            context = small.extend(context, logits.index(max(logits)))

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_sums_to_one_after_any_tokens_and_prompt(self, model: LanguageModel, data: st.DataObject):
        tokens = data.draw(st.lists(st.integers(UNKNOWN, len(model.vocabulary) - 1), max_size=5))
        prompt = data.draw(st.sampled_from(["", "xyzzy", "bread and rain", "Tell me a story!"]))
        logits = model.logits(model.context(tokens), model.focus(split(prompt)))
        assert sum(shares(logits)) == pytest.approx(1.0)
        assert min(logits) > -math.inf

    def test_what_was_seen_is_likely_what_was_not_is_possible(self, small: LanguageModel):
        context = small.context(small.encode(split("The cat")))
        found = shares(small.logits(context, Focus()))
        likes, sleeps, bones = small.encode([" likes", " sleeps", " bones"])
        assert found[likes] > 0.2 and found[sleeps] > 0.2
        assert 0 < found[bones] < 0.1

    def test_a_longer_context_decides(self, small: LanguageModel):
        milk, bones = small.encode([" milk", " bones"])
        after_cat = small.logits(small.context(small.encode(split("The cat likes"))), Focus())
        after_dog = small.logits(small.context(small.encode(split("The dog likes"))), Focus())
        assert after_cat[milk] > after_cat[bones]
        assert after_dog[bones] > after_dog[milk]

    def test_likely_words_have_positive_logits(self, small: LanguageModel):
        logits = small.logits(small.context(small.encode(split("The cat likes"))), Focus())
        assert max(logits) > 0 > min(logits)

    def test_unknown_context_falls_back_to_single_words(self, small: LanguageModel):
        found = shares(small.logits((UNKNOWN, UNKNOWN, UNKNOWN), Focus()))
        assert max(found) < 4 / len(found)


class TestFocus:
    def test_of_unknown_words_changes_nothing(self, small: LanguageModel):
        focus = small.focus(split("Xyzzy?"))
        context = small.context([])
        assert small.logits(context, focus) == small.logits(context, Focus())

    def test_question_lines_lead_to_their_passage(self, small: LanguageModel):
        plain = small.logits(small.context([]), Focus())
        asked = small.logits(small.context([]), small.focus(split("cats?")))
        context = small.context(small.encode(split("The")))
        (cat,) = small.encode([" cat"])
        plain, asked = small.logits(context, Focus()), small.logits(context, small.focus(split("cats?")))
        assert asked[cat] > plain[cat]

    @pytest.mark.parametrize(
        ("prompt", "word"),
        [
            ("How do I make a vegetable soup?", "soup"),
            ("How do I bake bread?", "flour"),
            ("Why is the sky blue?", "light"),
            ("Tell me a story about a dragon", "dragon"),
            ("What does the temperature setting do?", "temperature"),
            ("Who are you?", "demo"),
            ("Hello!", "demo"),
            ("How do I debug a program?", "bug"),
            ("Tell me about mirostat", "surprise"),
        ],
    )
    def test_answers_relate_to_their_prompt(self, model: LanguageModel, prompt: str, word: str):
        assert word in greedy(model, prompt)

    def test_words_of_the_prompt_become_likelier(self, model: LanguageModel):
        context = (UNKNOWN,)
        (fox,) = model.encode([" fox"])
        assert (
            model.logits(context, model.focus(split("the fox")))[fox]
            > model.logits(context, Focus())[fox] + 1
        )


def test_sampled_text_reads_like_sentences(model: LanguageModel):
    text = greedy(model, "Tell me about birds and bees.")
    assert text[0].isupper()
    assert text.endswith(".")
    assert len(text.split()) > 20
    assert " ." not in text and " ," not in text


def test_more_than_two_thousand_tokens_per_second(model: LanguageModel):
    focus, rng = model.focus(split("Tell me a story about the sea")), random.Random(1)
    context, best = model.context([]), math.inf
    for _ in range(5):
        started = time.process_time()
        for _ in range(100):
            logits = model.logits(context, focus)
            context = model.extend(context, rng.choice(range(1, len(logits))))
        best = min(best, time.process_time() - started)
    assert best < 100 / 2000
