"""From a prompt to an answer: what the model sees, where an answer ends, what is held back."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.demo.generation import (
    UNBOUNDED_TOKENS,
    Generation,
    Prompt,
    StopScanner,
    chat_prompt,
    last_pieces,
    raw_prompt,
)
from proxy.demo.language_model import LanguageModel, split
from proxy.demo.options import read_options
from proxy.demo.wire import Message

QUESTION = "How do I make a good soup?"


def ask(model: LanguageModel, text: str = QUESTION, alternatives: int = 0, **requested) -> Generation:
    options = read_options(requested)
    prompt = chat_prompt([Message("user", text)], options.num_ctx)
    return Generation(model, prompt, options, Random(options.seed), alternatives)


def text_of(generation: Generation) -> str:
    return "".join(step.text for step in generation.steps())


class TestChatPrompt:
    def test_writes_the_conversation_out(self):
        prompt = chat_prompt([Message("system", "Be short."), Message("user", "Hi")], 100)
        assert "".join(prompt.pieces) == "<|system|>\nBe short.\n<|user|>\nHi\n<|assistant|>\n"
        assert prompt.opening == []

    def test_goes_on_from_the_assistants_words(self):
        prompt = chat_prompt([Message("user", "Hi"), Message("assistant", "The cat")], 100)
        assert "".join(prompt.pieces) == "<|user|>\nHi\n<|assistant|>\nThe cat"
        assert prompt.opening == ["The", " cat"]

    def test_is_cut_to_the_last_tokens(self):
        messages = [Message("user", "one two three"), Message("user", "four five")]
        assert "".join(chat_prompt(messages, 6).pieces) == "\nfour five\n<|assistant|>\n"
        assert "".join(chat_prompt(messages, 9).pieces) == " three\n<|user|>\nfour five\n<|assistant|>\n"

    def test_goes_before_the_pieces_handed_in(self):
        assert chat_prompt([Message("user", "Hi")], 100, ["a", " b"]).pieces[:3] == ["a", " b", "<|user|>"]
        assert len(chat_prompt([Message("user", "Hi")], 6, ["a", " b"] * 10).pieces) == 6

    def test_a_role_that_is_no_word_is_other(self):
        assert chat_prompt([Message("|weird|", "Hi")], 100).pieces[0] == "<|other|>"

    def test_raw_is_as_it_stands(self):
        assert raw_prompt("The cat sleeps", 2) == Prompt([" cat", " sleeps"], [" cat", " sleeps"])

    @given(st.lists(st.text(alphabet="abc,.9\n", min_size=1, max_size=9), max_size=80), st.integers(1, 20))
    def test_last_pieces_of_ordinary_text_are_those_of_the_whole(self, words: list[str], count: int):
        text = " ".join(words)
        assert last_pieces(text, count) == split(text)[-count:]

    @given(st.text(alphabet="9a ", max_size=600), st.integers(1, 20))
    def test_last_pieces_of_any_text_end_it(self, text: str, count: int):
        pieces = last_pieces(text, count)
        assert text.endswith("".join(pieces))
        assert len(pieces) == min(count, len(split(text)))

    def test_a_huge_text_is_not_split_whole(self):
        assert last_pieces("soup " * 1_000_000, 3) == [" soup", " soup", " "]


class TestStopScanner:
    def test_ends_before_the_sequence(self):
        scanner = StopScanner(["END"])
        assert scanner.feed("one END two") == "one "
        assert scanner.matched

    def test_holds_back_a_beginning(self):
        scanner = StopScanner(["END"])
        assert scanner.feed("one E") == "one "
        assert scanner.feed("N") == ""
        assert scanner.feed("x") == "ENx"
        assert not scanner.matched

    def test_matches_over_pieces(self):
        scanner = StopScanner(["\n\nUser:"])
        assert [scanner.feed(piece) for piece in ("a\n", "\nUs", "er", ":b")] == ["a", "", "", ""]
        assert scanner.matched

    def test_the_first_in_the_text_wins(self):
        assert StopScanner(["cd", "bc"]).feed("abcd") == "a"

    def test_gives_back_at_the_end_what_was_nothing(self):
        scanner = StopScanner(["END"])
        scanner.feed("one EN")
        assert scanner.close() == "EN"
        assert scanner.close() == ""

    def test_empty_sequences_never_match(self):
        scanner = StopScanner(["", ""])
        assert scanner.feed("text") == "text"
        assert not scanner.matched

    @given(
        st.lists(st.text(alphabet="ab", max_size=4), max_size=8),
        st.lists(st.text(alphabet="ab", min_size=1, max_size=3), max_size=3),
    )
    def test_any_cut_gives_what_stands_before_the_first_match(self, pieces: list[str], stops: list[str]):
        scanner, shown = StopScanner(stops), ""
        for piece in pieces:
            shown += scanner.feed(piece)
            if scanner.matched:
                break
        shown += scanner.close()
        whole = "".join(pieces)
        positions = [whole.find(stop) for stop in stops if stop in whole]
        assert scanner.matched == bool(positions)
        if not positions:
            assert shown == whole
        else:
            assert whole.startswith(shown)
            assert not any(stop in shown for stop in stops)


class TestEnding:
    def test_by_itself(self, model: LanguageModel):
        generation = ask(model, temperature=0)
        text = text_of(generation)
        assert text.startswith("Start with an onion.")
        assert text.endswith(".")
        assert generation.done_reason == "stop"
        assert generation.count == len(split(text))

    @pytest.mark.parametrize("limit", [1, 5, 30])
    def test_by_num_predict(self, model: LanguageModel, limit: int):
        generation = ask(model, temperature=0, num_predict=limit)
        text = text_of(generation)
        assert generation.done_reason == "length"
        assert generation.count == limit == len(split(text))
        assert text_of(ask(model, temperature=0)).startswith(text)

    def test_at_once_without_tokens_to_make(self, model: LanguageModel):
        generation = ask(model, num_predict=0)
        assert text_of(generation) == ""
        assert (generation.count, generation.done_reason) == (0, "length")

    @pytest.mark.parametrize("unbounded", [-1, -2])
    def test_of_an_answer_that_would_never_end(self, model: LanguageModel, unbounded: int):
        # Greedy without penalties walks in a circle here.
        generation = ask(model, "What is recursion?", temperature=0, repeat_penalty=1, num_predict=unbounded)
        text_of(generation)
        assert (generation.count, generation.done_reason) == (UNBOUNDED_TOKENS, "length")

    def test_never_beyond_ten_contexts(self, model: LanguageModel):
        generation = ask(
            model, "What is recursion?", temperature=0, repeat_penalty=1, num_predict=10**9, num_ctx=16
        )
        text_of(generation)
        assert generation.count == 160

    def test_by_a_stop_sequence(self, model: LanguageModel):
        whole = text_of(ask(model, temperature=0))
        for stop in ["carrots", "o", " cook it sl", "."]:
            generation = ask(model, temperature=0, stop=[stop])
            assert text_of(generation) == whole[: whole.index(stop)]
            assert generation.done_reason == "stop"

    def test_stop_sequence_that_never_comes(self, model: LanguageModel):
        assert text_of(ask(model, temperature=0, stop=["xyzzy", "day.x"])) == text_of(
            ask(model, temperature=0)
        )


class TestParameters:
    def test_same_seed_same_text(self, model: LanguageModel):
        assert text_of(ask(model, seed=5)) == text_of(ask(model, seed=5))

    def test_seeds_differ(self, model: LanguageModel):
        assert len({text_of(ask(model, "Tell me a story", seed=seed)) for seed in range(5)}) > 2

    def test_temperature_zero_needs_no_seed(self, model: LanguageModel):
        assert len({text_of(ask(model, temperature=0, seed=seed)) for seed in range(3)}) == 1

    @pytest.mark.parametrize(
        "changed",
        [
            {"temperature": 1.5},
            {"top_k": 2},
            {"top_p": 0.2},
            {"min_p": 0.5},
            {"typical_p": 0.2},
            {"repeat_penalty": 1.8},
            {"repeat_last_n": 2, "repeat_penalty": 1.8},
            {"presence_penalty": 2.0},
            {"frequency_penalty": 2.0},
            {"mirostat": 1},
            {"mirostat": 2},
            {"mirostat": 2, "mirostat_tau": 1.0},
            {"mirostat": 2, "mirostat_eta": 1.0},
        ],
        ids=lambda changed: "-".join(changed),
    )
    def test_each_option_changes_answers(self, model: LanguageModel, changed: dict[str, float]):
        questions = [QUESTION, "Tell me a story about a fox", "What is a loop?", "Why does it rain?"]
        before = [text_of(ask(model, question, seed=3)) for question in questions]
        after = [text_of(ask(model, question, seed=3, **changed)) for question in questions]
        assert before != after

    def test_num_ctx_decides_what_is_seen(self, model: LanguageModel):
        long = "How do I bake bread? " + "and so on " * 40
        assert ask(model, long, num_ctx=16).prompt_count == 16
        assert text_of(ask(model, long, temperature=0, num_ctx=16)) != text_of(
            ask(model, long, temperature=0)
        )

    def test_goes_on_with_a_raw_text(self, model: LanguageModel):
        options = read_options({"temperature": 0, "num_predict": 3})
        generation = Generation(
            model, raw_prompt("Start with an onion. Cut it small", 100), options, Random(1)
        )
        assert text_of(generation) == " and cook it"

    def test_goes_on_with_the_assistants_words(self, model: LanguageModel):
        prompt = chat_prompt([Message("user", QUESTION), Message("assistant", "Start with an onion.")], 100)
        assert text_of(Generation(model, prompt, read_options({"temperature": 0}), Random(1))).startswith(
            " Cut it small"
        )

    def test_tokens_hold_prompt_and_answer(self, model: LanguageModel):
        generation = ask(model, "xyzzy soup", temperature=0)
        text = text_of(generation)
        said = "".join(model.decode(generation.tokens))
        assert said.endswith(text)
        assert " soup" in said and "xyzzy" not in said


class TestLogprobs:
    def test_one_for_each_token_in_order(self, model: LanguageModel):
        steps = list(ask(model, seed=2).steps())
        entries = [entry for step in steps for entry in step.logprobs]
        assert "".join(entry.text for entry in entries) == "".join(step.text for step in steps)
        assert all(entry.logprob <= 0 for entry in entries)

    def test_alternatives_are_the_likeliest(self, model: LanguageModel):
        generation = ask(model, seed=2, alternatives=3)
        for entry in [entry for step in generation.steps() for entry in step.logprobs]:
            found = [other.logprob for other in entry.alternatives]
            assert len(found) == 3 and found == sorted(found, reverse=True)
            assert entry.logprob <= found[0] + 1e-12
            assert sum(map(math.exp, found)) <= 1 + 1e-9

    def test_greedy_takes_the_first_alternative(self, model: LanguageModel):
        generation = ask(model, temperature=0, repeat_penalty=1, alternatives=1, num_predict=40)
        for entry in [entry for step in generation.steps() for entry in step.logprobs]:
            assert entry.alternatives[0].text == entry.text

    def test_what_a_stop_sequence_swallowed_is_not_reported(self, model: LanguageModel):
        steps = list(ask(model, temperature=0, stop=[" it small"]).steps())
        assert "".join(step.text for step in steps) == "Start with an onion. Cut"
        assert [entry.text for step in steps for entry in step.logprobs][-1] == " Cut"

    def test_a_token_is_reported_with_its_first_character(self, model: LanguageModel):
        steps = list(ask(model, temperature=0, stop=["ion. C"]).steps())
        assert "".join(step.text for step in steps) == "Start with an on"
        assert [entry.text for step in steps for entry in step.logprobs][-1] == " onion"
