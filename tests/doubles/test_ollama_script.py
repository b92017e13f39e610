"""What the double answers: records, pieces, counters, tools, logprobs; and its own faults, one by one."""

import json
import math
import re
import time
from itertools import pairwise

import httpx
import pytest

from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_script import CRASH, TAIL, Faults, Script

USER = [{"role": "user", "content": "say hi"}]
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in "fg"]
CALLS = [{"name": "f", "arguments": {"a": 1, "b": "<é>"}}, {"name": "g", "arguments": {}}]


@pytest.fixture
async def ollama():
    async with OllamaDouble() as double:
        yield double


@pytest.fixture
async def client(ollama):
    async with httpx.AsyncClient(verify=False, base_url=ollama.url, timeout=5) as client:
        yield client


async def whole(client, model="plain", path="/api/chat", **fields):
    body = {"model": model, "messages": USER, "prompt": "say hi", "stream": False}
    answer = await client.post(path, json=body | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def stream(client, model="plain", path="/api/chat", **fields):
    answer = await client.post(path, json={"model": model, "messages": USER, "prompt": "say hi"} | fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.content.endswith(b"\n")
    return [json.loads(line) for line in answer.content.splitlines()]


def text(records):
    return "".join(record["message"]["content"] for record in records)


@pytest.mark.parametrize("wanted", [{}, {"stream": None}, {"stream": True}])
async def test_streaming_is_the_default(client, wanted):
    records = await stream(client, **wanted)
    assert [record["done"] for record in records] == [False] * (len(records) - 1) + [True]
    assert text(records) == "Echo: say hi " + "".join(TAIL)


async def test_every_record(client):
    records = await stream(client, model="PLAIN")
    times = [record["created_at"] for record in records]
    assert len(set(times)) == len(times)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", moment) for moment in times)
    assert {record["model"] for record in records} == {"PLAIN"}
    assert {record["message"]["role"] for record in records} == {"assistant"}
    assert all(record.keys() == {"model", "created_at", "message", "done"} for record in records[:-1])
    assert all(record["message"].keys() == {"role", "content"} for record in records)


async def test_the_final_record(client):
    final = (await stream(client))[-1]
    assert final["done_reason"] == "stop"
    assert (final["prompt_eval_count"], final["eval_count"]) == (2, 3 + len(TAIL))
    durations = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    assert all(isinstance(final[key], int) and final[key] > 0 for key in durations)


async def test_zero_counters_are_left_out(client, ollama):
    ollama.script = Script(text=[], prompt_tokens=0)
    (final,) = await stream(client)
    assert final.keys().isdisjoint(
        {"prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"}
    )
    assert final["done"] is True


async def test_whole_is_the_stream_joined(client, ollama):
    ollama.script = Script(thinking=["a", "b"], text=["c", "d"], tool_calls=CALLS)
    answer = await whole(client, "qwen3:8b", tools=TOOLS)
    assert answer["message"]["thinking"] == "ab"
    assert answer["message"]["content"] == "cd"
    assert [call["function"]["name"] for call in answer["message"]["tool_calls"]] == ["f", "g"]
    assert (answer["done"], answer["done_reason"], answer["eval_count"]) == (True, "stop", 6)


async def test_go_escapes(client):
    raw = (await client.post("/api/chat", json={"model": "plain", "messages": USER})).content
    assert b"\\u003cb\\u003e1 " in raw
    assert b"\\u0026" in raw
    assert not set(b"<>&") & set(raw)
    assert "café".encode() in raw
    assert "👩‍🚀".encode() in raw
    assert b'\\"quoted\\"' in raw


@pytest.mark.parametrize(
    ("limit", "pieces", "reason"),
    [(2, 2, "length"), (0, 0, "length"), (3, 3, "stop"), (-1, 3, "stop"), (-2, 3, "stop")],
)
async def test_num_predict(client, ollama, limit, pieces, reason):
    ollama.script = Script(text=["a", "b", "c"])
    records = await stream(client, options={"num_predict": limit})
    assert (len(records) - 1, records[-1]["done_reason"]) == (pieces, reason)
    assert records[-1].get("eval_count", 0) == pieces


async def test_thinking_eats_num_predict(client):
    answer = await whole(client, "qwen3:8b", options={"num_predict": 2})
    assert (answer["message"]["content"], answer["done_reason"]) == ("", "length")
    assert answer["message"]["thinking"] == "Hm, some effort "


@pytest.mark.parametrize(
    ("stop", "content"),
    [
        (["b c"], "a "),
        (["zzz", "c"], "a b "),
        (["c", "b"], "a "),
        (["a"], ""),
        ([], "a b c<|eot_id|>d"),
        ([""], "a b c<|eot_id|>d"),
        (None, "a b c"),
    ],
)
async def test_stop(client, ollama, stop, content):
    ollama.script = Script(text=["a ", "b ", "c<|eot", "_id|>", "d"])
    options = {"stop": stop}
    records = await stream(client, "llama3:8b", options=options)
    assert text(records) == content
    assert records[-1]["done_reason"] == "stop"


async def test_mlx_ignores_stop_format_and_zero_num_predict(client, ollama):
    answer = await whole(client, "mlx-model", format="json", options={"stop": ["say"], "num_predict": 0})
    assert answer["message"]["content"] == "Echo: say hi " + "".join(TAIL)


@pytest.mark.parametrize("form", ["json", {"type": "object"}])
async def test_format_gives_json(client, form):
    answer = await whole(client, format=form)
    assert json.loads(answer["message"]["content"]) == {"answer": 42}


async def test_tool_calls_come_whole_before_the_end(client, ollama):
    ollama.script = Script(tool_calls=CALLS)
    *early, final = await stream(client, "llama3:8b", tools=TOOLS)
    calls = [call for record in early for call in record["message"]["tool_calls"]]
    assert [call["function"] for call in calls] == [{"index": n, **call} for n, call in enumerate(CALLS)]
    assert all(re.fullmatch(r"call_[a-z0-9]{8}", call["id"]) for call in calls)
    assert len({call["id"] for call in calls}) == 2
    assert "tool_calls" not in final["message"]
    assert final["done_reason"] == "stop"
    assert text(early) == ""


async def test_no_tools_no_calls(client, ollama):
    ollama.script = Script(tool_calls=CALLS, text=["no"])
    assert "tool_calls" not in (await whole(client, "llama3:8b"))["message"]
    assert "tool_calls" not in (await whole(client, "llama3:8b", tools=[]))["message"]


async def test_tools_on_done(client, ollama):
    ollama.script, ollama.faults = Script(tool_calls=CALLS, text=["ok"]), Faults(tools_on_done=True)
    *early, final = await stream(client, "llama3:8b", tools=TOOLS)
    assert text(early) == "ok"
    assert [call["function"]["index"] for call in final["message"]["tool_calls"]] == [0, 1]
    assert final["done"] is True


async def test_zero_indexes_and_missing_ids(client, ollama):
    ollama.script, ollama.faults = Script(tool_calls=CALLS), Faults(zero_indexes=True, missing_ids=True)
    calls = (await whole(client, "llama3:8b", tools=TOOLS))["message"]["tool_calls"]
    assert [call["function"]["index"] for call in calls] == [0, 0]
    assert all("id" not in call for call in calls)


async def test_harmony_leaves_every_index_at_zero(client, ollama):
    ollama.script = Script(tool_calls=CALLS)
    calls = (await whole(client, "gpt-oss:20b", tools=TOOLS))["message"]["tool_calls"]
    assert [call["function"]["index"] for call in calls] == [0, 0]


@pytest.mark.parametrize(
    ("version", "index", "known"),
    [("0.12.5", False, False), ("0.12.6", True, False), ("0.12.10", True, True)],
)
async def test_calls_by_version(client, ollama, version, index, known):
    ollama.version, ollama.script = version, Script(tool_calls=CALLS)
    call = (await whole(client, "llama3:8b", tools=TOOLS))["message"]["tool_calls"][0]
    assert ("index" in call["function"], "id" in call) == (index, known)


async def test_thinking_comes_first(client, ollama):
    ollama.script = Script(thinking=["t", "u"], text=["a"])
    messages = [record["message"] for record in await stream(client, "qwen3:8b")]
    assert [message.get("thinking") for message in messages] == ["t", "u", None, None]
    assert [message["content"] for message in messages] == ["", "", "a", ""]


async def test_shared_records_and_leftovers(client, ollama):
    ollama.script = Script(thinking=["t"], text=["a", "b"], mixed=True, text_on_done=True)
    messages = [record["message"] for record in await stream(client, "qwen3:8b")]
    assert [(message.get("thinking"), message["content"]) for message in messages] == [
        ("t", "a"),
        (None, "b"),
    ]
    ollama.script = Script(thinking=["t"], tool_calls=CALLS[:1], mixed=True)
    first, last = await stream(client, "qwen3:8b", tools=TOOLS)
    assert first["message"].keys() >= {"thinking", "tool_calls"}
    assert last["done"]


async def test_a_script_may_be_chosen_by_request(client, ollama):
    ollama.script = lambda body: Script(text=[body["messages"][0]["content"].upper()], done_reason="odd")
    answer = await whole(client)
    assert (answer["message"]["content"], answer["done_reason"]) == ("SAY HI", "odd")


async def test_logprobs(client, ollama):
    ollama.script = Script(text=["é", "b"])
    *early, final = await stream(client, logprobs=True)
    assert [record["logprobs"] for record in early] == [
        [{"token": "é", "logprob": -0.125, "bytes": [0xC3, 0xA9]}],
        [{"token": "b", "logprob": -0.125, "bytes": [0x62]}],
    ]
    assert "logprobs" not in final


async def test_top_logprobs(client, ollama):
    ollama.script = Script(text=["a", "b"])
    entries = (await whole(client, logprobs=True, top_logprobs=3))["logprobs"]
    assert [entry["token"] for entry in entries] == ["a", "b"]
    top = entries[0].pop("top_logprobs")
    assert top[0] == entries[0]
    assert len(top) == 3
    assert all(one["logprob"] > two["logprob"] for one, two in pairwise(top))


async def test_logprobs_only_when_asked_and_known(client, ollama):
    assert "logprobs" not in await whole(client, top_logprobs=3)
    ollama.version = "0.12.10"
    assert "logprobs" not in await whole(client, logprobs=True)


async def test_generate(client):
    records = await stream(client, path="/api/generate", prompt="say hi")
    assert "".join(record["response"] for record in records) == "Echo: say hi " + "".join(TAIL)
    assert records[-1]["context"]
    assert all("message" not in record for record in records)
    raw = await whole(client, path="/api/generate", prompt="say hi", raw=True)
    assert "context" not in raw
    thinking = await whole(client, "qwen3:8b", path="/api/generate", prompt="say hi")
    assert thinking["thinking"] == "Hm, some effort & é."


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"model": ""}, 404, "model '' not found"),
        ({"model": "nope"}, 404, "model 'nope' not found"),
        ({"prompt": ["a"]}, 400, None),
        ({"raw": True, "system": "s"}, 400, "raw mode does not support template, system, or context"),
        ({"raw": True, "context": [1]}, 400, "raw mode does not support template, system, or context"),
        ({"suffix": "x"}, 400, "registry.ollama.ai/library/plain:latest does not support insert"),
        ({"model": "coder", "suffix": "x"}, 200, None),
        ({"model": "nomic-embed-text"}, 400, '"nomic-embed-text" does not support generate'),
        ({"think": True}, 400, '"plain" does not support thinking'),
        ({"images": ["data:,x"]}, 400, None),
        ({"images": ["AAAA"]}, 500, None),
        ({"options": {"top_k": "1"}}, 500, None),
    ],
)
async def test_generate_refusals(client, fields, status, message):
    answer = await client.post(
        "/api/generate", json={"model": "plain", "prompt": "p", "stream": False} | fields
    )
    assert answer.status_code == status
    assert message is None or answer.json() == {"error": message}


async def embed(client, **fields):
    return await client.post("/api/embed", json={"model": "nomic-embed-text", "input": "a b"} | fields)


async def test_embed(client):
    one = (await embed(client)).json()
    many = (await embed(client, input=["c", "a b"])).json()
    assert one["model"] == "nomic-embed-text"
    assert len(one["embeddings"][0]) == 768
    assert math.hypot(*one["embeddings"][0]) == pytest.approx(1)
    assert many["embeddings"][1] == one["embeddings"][0] != many["embeddings"][0]
    assert (one["prompt_eval_count"], many["prompt_eval_count"]) == (2, 3)
    assert one["total_duration"] > 0


async def test_embed_dimensions(client):
    (vector,) = (await embed(client, dimensions=8)).json()["embeddings"]
    assert len(vector) == 8
    assert math.hypot(*vector) == pytest.approx(1)


@pytest.mark.parametrize("nothing", [{"input": None}, {"input": []}, {"input": ""}])
async def test_embed_without_input_loads(client, ollama, nothing):
    assert (await embed(client, **nothing)).json()["embeddings"] == []
    assert list(ollama.loaded) == ["nomic-embed-text:latest"]


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"input": [1, 2]}, 400, "invalid input type"),
        ({"input": [["a"]]}, 400, "invalid input type"),
        ({"input": {"a": 1}}, 400, "invalid input type"),
        ({"input": "w " * 2049, "truncate": False}, 400, "the input length exceeds the context length"),
        ({"input": "w " * 2049}, 200, None),
        ({"model": None}, 400, "model is required"),
        ({"model": "nope"}, 404, "model 'nope' not found"),
        ({"options": {"num_ctx": "x"}}, 500, 'option "num_ctx" must be of type integer'),
    ],
)
async def test_embed_refusals(client, fields, status, message):
    answer = await embed(client, **fields)
    assert answer.status_code == status
    assert message is None or answer.json() == {"error": message}


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_error_line(client, ollama, after):
    ollama.faults = Faults(error_line_after=after)
    records = await stream(client)
    assert len(records) == after + 1
    assert records[-1] == {"error": CRASH}
    answer = await client.post("/api/chat", json={"model": "plain", "messages": USER, "stream": False})
    assert (answer.status_code, answer.json()) == (500, {"error": CRASH})


async def test_end_without_done(client, ollama):
    ollama.faults = Faults(end_without_done=True)
    assert not any(record["done"] for record in await stream(client))
    answer = await whole(client)
    assert answer["done"] is False
    assert "done_reason" not in answer
    ollama.script = Script(text=[])
    assert [record["done"] for record in await stream(client)] == [False]


async def test_busy(client, ollama):
    ollama.faults = Faults(busy_503=True)
    answer = await client.post("/api/chat", json={"model": "plain", "messages": USER})
    assert answer.status_code == 503
    assert answer.json()["error"] == "server busy, please try again.  maximum pending requests exceeded"
    assert "retry-after" not in answer.headers


async def test_nested_error(client, ollama):
    ollama.faults = Faults(nested_error_400=True)
    answer = await client.post("/api/chat", json={"model": "plain", "messages": USER})
    assert answer.status_code == 400
    inner = json.loads(answer.json()["error"])["error"]
    assert inner["type"] == "exceed_context_size_error"
    assert (inner["code"], inner["n_prompt_tokens"], inner["n_ctx"]) == (400, 2, 4096)


async def test_any_other_refusal_a_limited_number_of_times(client, ollama):
    ollama.faults = Faults(status=429, error="slow down", times=2)
    body = {"model": "plain", "messages": USER, "stream": False}
    answers = [await client.post("/api/chat", json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].json() == {"error": "slow down"}


async def test_faults_strike_their_paths_only(client, ollama):
    ollama.faults = Faults(status=500, paths=["/api/version"])
    assert (await client.get("/api/version")).status_code == 500
    assert (await client.get("/api/tags")).status_code == 200


@pytest.mark.parametrize("streaming", [True, False])
async def test_first_byte_delay_holds_the_headers_back(client, ollama, streaming):
    ollama.faults = Faults(first_byte_delay=0.15)
    started = time.monotonic()
    body = {"model": "plain", "messages": USER, "stream": streaming}
    async with client.stream("POST", "/api/chat", json=body):
        assert time.monotonic() - started >= 0.15


async def test_delay_is_per_piece(client, ollama):
    ollama.script = Script(text=["a", "b"], delay=0.08)
    seen = []
    async with client.stream("POST", "/api/chat", json={"model": "plain", "messages": USER}) as answer:
        async for line in answer.aiter_lines():
            seen.append((time.monotonic(), json.loads(line)["message"]["content"]))
    assert [content for _, content in seen] == ["a", "b", ""]
    assert seen[1][0] - seen[0][0] >= 0.04
