"""Records of one answer: their fields, their order, what is left out."""

import re
import time

from proxy.demo.answer import Answer, head
from proxy.demo.generation import raw_prompt
from proxy.demo.language_model import LanguageModel
from proxy.demo.options import read_options
from proxy.demo.wire import Call

CHAT = Call(model="Demo", stream=True, keep_alive=None, chat=True)


def begin(model: LanguageModel, call: Call, **requested: object) -> Answer:
    prompt = raw_prompt("Start with an onion.", 100)
    return Answer(model, call, prompt, read_options({"temperature": 0, **requested}), time.perf_counter_ns())


def test_text_goes_where_the_endpoint_has_it():
    assert head(CHAT, "Hi")["message"] == {"role": "assistant", "content": "Hi"}
    generate = head(Call(model="m", stream=True, keep_alive=None), "Hi")
    assert generate["response"] == "Hi" and "message" not in generate


def test_a_record_echoes_the_name_and_tells_the_time(model: LanguageModel):
    record = begin(model, CHAT).record("Hi", ())
    assert list(record) == ["model", "created_at", "message", "done"]
    assert record["model"] == "Demo"
    assert record["done"] is False
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["created_at"])


def test_the_last_record_counts_and_measures(model: LanguageModel):
    started = time.perf_counter_ns()
    answer = begin(model, CHAT, num_predict=5)
    assert len(list(answer.generation.steps())) == 6
    last = answer.last("", ())
    elapsed = time.perf_counter_ns() - started
    assert (last["done"], last["done_reason"]) == (True, "length")
    assert (last["prompt_eval_count"], last["eval_count"]) == (5, 5)
    parts = [last["load_duration"], last["prompt_eval_duration"], last["eval_duration"]]
    assert all(isinstance(part, int) and part > 0 for part in parts)
    assert sum(parts) <= last["total_duration"] + 1000 <= elapsed + 1000
    assert "context" not in last


def test_a_seed_is_obeyed_and_without_one_answers_differ(model: LanguageModel):
    def said(**requested: object) -> str:
        answer = begin(model, CHAT, temperature=1.5, num_predict=20, **requested)
        return "".join(step.text for step in answer.generation.steps())

    assert said(seed=0) == said(seed=0)
    assert said(seed=5) == said(seed=5) != said(seed=6)
    assert len({said() for _ in range(5)}) > 2
    assert len({said(seed=-1) for _ in range(5)}) > 2


def test_zeros_are_left_out(model: LanguageModel):
    answer = begin(model, CHAT, num_predict=0)
    list(answer.generation.steps())
    last = answer.last("", ())
    assert "eval_count" not in last and "eval_duration" not in last
    assert last["total_duration"] > 0


def test_context_is_returned_where_asked(model: LanguageModel):
    answer = begin(model, Call(model="m", stream=False, keep_alive=None, returns_context=True), num_predict=2)
    text = "".join(step.text for step in answer.generation.steps())
    last = answer.last(text, ())
    assert "".join(model.decode(last["context"])) == "Start with an onion." + text


def test_logprobs_only_where_asked(model: LanguageModel):
    answer = begin(model, CHAT, num_predict=1)
    (step, _) = answer.generation.steps()
    assert step.logprobs
    assert "logprobs" not in answer.record(step.text, step.logprobs)


def test_logprobs_with_and_without_others(model: LanguageModel):
    for others in (0, 2):
        call = Call(model="m", stream=True, keep_alive=None, chat=True, logprobs=True, top_logprobs=others)
        answer = begin(model, call, num_predict=1)
        (step, _) = answer.generation.steps()
        (entry,) = answer.record(step.text, step.logprobs)["logprobs"]
        assert entry["token"] == step.text == " Cut"
        assert entry["bytes"] == [32, 67, 117, 116]
        assert entry["logprob"] < 0
        assert [set(other) for other in entry.get("top_logprobs", [])] == [
            {"token", "logprob", "bytes"}
        ] * others
        assert ("top_logprobs" in entry) == (others > 0)
