"""Ollama's wire, rule by rule, over a real socket."""

import json
import math

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "application/json; charset=utf-8"
HI = [{"role": "user", "content": "How do I make a good soup?"}]


async def chat(client: httpx.AsyncClient, **fields: object) -> httpx.Response:
    return await client.post("/api/chat", json={"model": "demo", "messages": HI, **fields})


async def generate(client: httpx.AsyncClient, **fields: object) -> httpx.Response:
    return await client.post("/api/generate", json={"model": "demo", "prompt": "soup", **fields})


async def whole(client: httpx.AsyncClient, **fields: object) -> dict:
    response = await chat(client, stream=False, **fields)
    assert response.status_code == 200, response.text
    return response.json()


def lines(response: httpx.Response) -> list[dict]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.content.endswith(b"\n")
    return [json.loads(line) for line in response.content.split(b"\n")[:-1]]


async def loaded(client: httpx.AsyncClient) -> dict | None:
    """The entry of /api/ps for the model that these tests use, if it is loaded."""
    models = (await client.get("/api/ps")).json()["models"]
    return next((model for model in models if model["name"] == "demo:latest"), None)


class TestAround:
    async def test_root_says_what_it_is(self, client):
        response = await client.get("/")
        assert response.status_code == 200
        assert "Ollama is running" in response.text and "demo runtime" in response.text
        assert (await client.head("/")).status_code == 200

    async def test_version_says_demo_and_what_it_has(self, client):
        response = await client.get("/api/version")
        assert response.json() == {
            "version": "0.6.9-attune-demo",
            "demo": True,
            "features": ["logprobs", "top_logprobs"],
        }
        assert response.headers["content-type"] == JSON
        assert (await client.head("/api/version")).status_code == 200

    async def test_tags(self, client):
        response = await client.get("/api/tags")
        models = response.json()["models"]
        assert [model["name"] for model in models] == ["demo:latest", "demo-slow:latest"]
        assert all(model["model"] == model["name"] for model in models)
        assert set(models[0]) == {"name", "model", "modified_at", "size", "digest", "details"}
        assert len(models[0]["digest"]) == 64
        assert (await client.head("/api/tags")).status_code == 200

    async def test_unknown_path_and_wrong_method_are_plain_text(self, client):
        for method, path, status, text in [
            ("GET", "/api/nothing", 404, "404 page not found"),
            ("GET", "/api/chat", 405, "405 method not allowed"),
            ("POST", "/api/tags", 405, "405 method not allowed"),
        ]:
            response = await client.request(method, path)
            assert (response.status_code, response.text) == (status, text)
            assert response.headers["content-type"].startswith("text/plain")


class TestShow:
    @pytest.mark.parametrize("field", ["model", "name"])
    async def test_shows(self, client, field):
        response = await client.post("/api/show", json={field: "demo", "verbose": True})
        shown = response.json()
        assert response.headers["content-type"] == JSON
        assert shown["parameters"].splitlines()[0] == "temperature                    0.7"
        assert shown["capabilities"] == ["completion"]
        assert shown["model_info"]["demo.context_length"] == 8192
        assert shown["details"]["families"] == ["attune-demo"]

    async def test_markup_is_escaped(self, client):
        response = await client.post("/api/show", json={"model": "demo"})
        assert b"<" not in response.content and b"\\u003c|assistant|\\u003e" in response.content

    @pytest.mark.parametrize(
        ("body", "status", "error"),
        [
            ({}, 400, "model is required"),
            ({"model": ""}, 400, "model is required"),
            ({"model": "x"}, 404, "model 'x:latest' not found"),
            ({"model": "me/x:v1"}, 404, "model 'me/x:v1' not found"),
            ({"model": "a b"}, 400, "invalid model name"),
        ],
    )
    async def test_refusals(self, client, body, status, error):
        response = await client.post("/api/show", json=body)
        assert (response.status_code, response.json()) == (status, {"error": error})


class TestChatRefusals:
    @pytest.mark.parametrize(
        ("fields", "status", "error"),
        [
            ({"model": ""}, 400, "model is required"),
            ({"model": None}, 400, "model is required"),
            ({"model": "x"}, 404, "model 'x' not found"),
            ({"model": "X:v2"}, 404, "model 'X:v2' not found"),
            ({"model": "a b"}, 400, "invalid model name"),
            ({"think": True}, 400, '"demo" does not support thinking'),
            ({"think": "high"}, 400, '"demo" does not support thinking'),
            (
                {"tools": [{"type": "function", "function": {"name": "f"}}]},
                400,
                "registry.ollama.ai/library/demo:latest does not support tools",
            ),
            ({"top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
            ({"top_logprobs": -1}, 400, "top_logprobs must be between 0 and 20"),
            ({"format": "json"}, 400, "the demo runtime does not support format"),
            ({"format": {"type": "object"}}, 400, "the demo runtime does not support format"),
            ({"keep_alive": "10"}, 400, 'time: missing unit in duration "10"'),
            ({"keep_alive": True}, 400, "Unsupported type: 'bool'"),
            ({"options": {"temperature": "0.5"}}, 500, 'option "temperature" must be of type float32'),
            ({"options": {"stop": "x"}}, 500, 'option "stop" must be of type array'),
        ],
    )
    async def test_with_their_words(self, client, fields, status, error):
        for stream in (True, False):
            response = await chat(client, stream=stream, **fields)
            assert (response.status_code, response.json()) == (status, {"error": error})
            assert response.headers["content-type"] == JSON

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}, 400),
            ({"messages": "Hi"}, 400),
            ({"options": [1]}, 400),
            ({"stream": "yes"}, 400),
            ({"think": "extreme"}, 400),
            ({"format": "yaml"}, 500),
            ({"format": 3}, 500),
            ({"messages": [{"role": "user", "images": ["data:image/png;base64,aa"]}]}, 400),
            ({"messages": [{"role": "user", "images": ["aGk="]}]}, 500),
        ],
    )
    async def test_with_their_status(self, client, fields, status):
        response = await chat(client, **fields)
        assert response.status_code == status
        assert isinstance(response.json()["error"], str)

    async def test_bodies_that_are_none(self, client):
        for body in (b"", b"{", b"[]"):
            response = await client.post("/api/chat", content=body)
            assert response.status_code == 400
            assert response.json()["error"]
        assert (await client.post("/api/chat", content=b"")).json() == {"error": "missing request body"}


class TestChat:
    @pytest.mark.parametrize(
        "fields",
        [
            {"think": False},
            {"think": None},
            {"tools": []},
            {"format": ""},
            {"format": None},
            {"tool_choice": "required", "n": 3, "max_tokens": "x"},
            {"options": {"unknown": {}, "Temperature": "hot", "tfs_z": 1, "temperature": None}},
            {"options": None},
            {"keep_alive": "5m"},
            {"keep_alive": -1},
            {"model": "DEMO:latest"},
        ],
        ids=str,
    )
    async def test_accepted(self, client, fields):
        assert (await whole(client, **fields))["done"] is True

    async def test_content_type_does_not_matter(self, client):
        body = json.dumps({"MODEL": "demo", "messages": HI, "Stream": False}).encode() + b" trailing"
        response = await client.post("/api/chat", content=body, headers={"content-type": "text/plain"})
        assert response.status_code == 200 and response.headers["content-type"] == JSON

    async def test_one_whole_record(self, client):
        record = await whole(client, model="Demo", options={"temperature": 0})
        assert record["model"] == "Demo"
        assert record["message"]["role"] == "assistant"
        assert record["message"]["content"].startswith("Start with an onion.")
        assert (record["done"], record["done_reason"]) == (True, "stop")
        for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
            assert isinstance(record[name], int) and record[name] > 0
        assert record["eval_count"] > 30
        assert record["prompt_eval_count"] > len(HI[0]["content"].split())

    async def test_streaming_is_the_default(self, client):
        records = lines(await chat(client, options={"temperature": 0, "num_predict": 6}))
        assert [record["done"] for record in records] == [False] * 6 + [True]
        assert [record["message"]["content"] for record in records] == [
            "Start",
            " with",
            " an",
            " onion",
            ".",
            " Cut",
            "",
        ]
        assert len({record["created_at"] for record in records}) == 7
        assert records[-1]["done_reason"] == "length" and records[-1]["eval_count"] == 6
        assert set(records[0]) == {"model", "created_at", "message", "done"}

    @pytest.mark.parametrize(
        "options",
        [
            {"seed": 1},
            {"seed": 2, "temperature": 1.4, "top_k": 0, "top_p": 1},
            {"seed": 3, "mirostat": 2, "num_predict": 40},
            {"seed": 4, "stop": [" a", "the"]},
        ],
        ids=str,
    )
    async def test_stream_and_whole_are_the_same_text(self, client, options):
        record = await whole(client, options=options)
        records = lines(await chat(client, options=options))
        assert "".join(part["message"]["content"] for part in records) == record["message"]["content"]
        for name in ("done_reason", "eval_count", "prompt_eval_count"):
            assert records[-1].get(name) == record.get(name)

    async def test_both_models_say_the_same(self, client):
        options = {"seed": 1, "num_predict": 4}
        assert (await whole(client, options=options))["message"] == (
            await whole(client, model="demo-slow", options=options)
        )["message"]

    async def test_no_tokens(self, client):
        record = await whole(client, options={"num_predict": 0})
        assert (record["message"]["content"], record["done_reason"]) == ("", "length")
        assert "eval_count" not in record and "eval_duration" not in record
        (only,) = lines(await chat(client, options={"num_predict": 0}))
        assert only["done"] is True

    async def test_a_stop_sequence_stops(self, client):
        full = (await whole(client, options={"temperature": 0}))["message"]["content"]
        cut = await whole(client, options={"temperature": 0, "stop": ["carrots"]})
        assert cut["message"]["content"] == full.split("carrots")[0]
        assert cut["done_reason"] == "stop"

    async def test_long_prompts_are_cut_to_num_ctx(self, client):
        messages = [{"role": "user", "content": "rain " * 5000}]
        record = await whole(client, messages=messages, options={"num_ctx": 100, "num_predict": 1})
        assert record["prompt_eval_count"] == 100
        record = await whole(client, messages=messages, options={"num_predict": 1})
        assert record["prompt_eval_count"] == 4096

    async def test_the_models_system_text_stands_in_for_a_missing_one(self, client):
        counts = [
            (await whole(client, messages=messages, options={"num_predict": 1}))["prompt_eval_count"]
            for messages in (HI, [{"role": "system", "content": "Short."}, *HI])
        ]
        assert counts[0] > counts[1] > 0


class TestLoading:
    @pytest.mark.parametrize("stream", [True, False, None])
    async def test_empty_messages_load_and_unload(self, client, stream):
        for fields in ({"messages": []}, {"messages": None}):
            response = await chat(client, stream=stream, **fields, options={"num_ctx": 1024})
            assert response.headers["content-type"] == JSON
            record = response.json()
            assert record["message"] == {"role": "assistant", "content": ""}
            assert (record["done"], record["done_reason"]) == (True, "load")
        entry = await loaded(client)
        assert entry is not None and entry["context_length"] == 1024
        record = (await chat(client, stream=stream, messages=[], keep_alive=0)).json()
        assert record["done_reason"] == "unload"
        assert await loaded(client) is None

    async def test_empty_prompt_loads_and_unloads(self, client):
        record = (await generate(client, prompt="", keep_alive="1m")).json()
        assert (record["response"], record["done_reason"]) == ("", "load")
        assert (await generate(client, prompt="", keep_alive="0s")).json()["done_reason"] == "unload"

    async def test_an_answer_leaves_the_model_loaded_unless_told(self, client):
        await whole(client, keep_alive="10s", options={"num_predict": 1})
        assert await loaded(client) is not None
        lines(await chat(client, keep_alive=0, options={"num_predict": 1}))
        assert await loaded(client) is None


class TestLogprobs:
    async def test_whole(self, client):
        record = await whole(client, logprobs=True, options={"seed": 1, "num_predict": 8})
        assert len(record["logprobs"]) == 8
        assert "".join(entry["token"] for entry in record["logprobs"]) == record["message"]["content"]
        for entry in record["logprobs"]:
            assert set(entry) == {"token", "logprob", "bytes"}
            assert bytes(entry["bytes"]).decode() == entry["token"]
            assert entry["logprob"] <= 0

    async def test_streamed_with_others(self, client):
        records = lines(
            await chat(client, logprobs=True, top_logprobs=20, options={"seed": 1, "num_predict": 5})
        )
        for record in records[:-1]:
            (entry,) = record["logprobs"]
            assert entry["token"] == record["message"]["content"]
            assert len(entry["top_logprobs"]) == 20
            assert math.fsum(math.exp(other["logprob"]) for other in entry["top_logprobs"]) <= 1.0
        assert "logprobs" not in records[-1]

    async def test_not_without_the_switch(self, client):
        assert "logprobs" not in await whole(client, top_logprobs=5)

    async def test_mirostat_steers_what_they_say(self, client):
        means = []
        for tau in (1.0, 4.0):
            logprobs = []
            for seed in range(6):
                options = {"mirostat": 2, "mirostat_tau": tau, "seed": seed, "num_predict": 60}
                record = await whole(client, logprobs=True, options=options)
                logprobs += [entry["logprob"] for entry in record["logprobs"]]
            means.append(-sum(logprobs) / len(logprobs) / math.log(2))
        assert means[0] < 1.6
        assert 3.0 < means[1] < 5.0


class TestGenerate:
    async def test_whole(self, client):
        record = (await generate(client, stream=False, options={"temperature": 0})).json()
        assert record["response"].startswith("Start with an onion.")
        assert "message" not in record
        assert all(isinstance(token, int) for token in record["context"])
        assert record["done_reason"] == "stop"

    async def test_streamed(self, client):
        records = lines(await generate(client, options={"temperature": 0, "num_predict": 3}))
        assert [record["response"] for record in records] == ["Start", " with", " an", ""]
        assert [("context" in record) for record in records] == [False, False, False, True]

    async def test_raw_goes_on_with_the_text(self, client):
        prompt = "Start with an onion. Cut it"
        record = (
            await generate(
                client, stream=False, raw=True, prompt=prompt, options={"temperature": 0, "num_predict": 2}
            )
        ).json()
        assert record["response"] == " small and"
        assert record["prompt_eval_count"] == 7
        assert "context" not in record

    async def test_context_is_taken_up(self, client):
        first = (await generate(client, stream=False, options={"num_predict": 5})).json()
        second = (
            await generate(client, stream=False, context=first["context"], options={"num_predict": 5})
        ).json()
        assert second["prompt_eval_count"] > len(first["context"])
        assert second["context"][: len(first["context"])] == first["context"]

    async def test_a_system_text_replaces_the_models_own(self, client):
        plain = (await generate(client, stream=False, options={"num_predict": 1})).json()
        given = (await generate(client, stream=False, system="Short.", options={"num_predict": 1})).json()
        assert given["prompt_eval_count"] < plain["prompt_eval_count"]

    @pytest.mark.parametrize(
        ("fields", "status", "error"),
        [
            ({"model": ""}, 404, "model '' not found"),
            ({"model": "x"}, 404, "model 'x' not found"),
            ({"raw": True, "system": "x"}, 400, "raw mode does not support template, system, or context"),
            ({"raw": True, "template": "x"}, 400, "raw mode does not support template, system, or context"),
            ({"raw": True, "context": [1]}, 400, "raw mode does not support template, system, or context"),
            ({"template": "x"}, 400, "the demo runtime does not support template"),
            ({"suffix": "x"}, 400, "registry.ollama.ai/library/demo:latest does not support insert"),
            ({"think": True}, 400, '"demo" does not support thinking'),
            ({"format": "json"}, 400, "the demo runtime does not support format"),
            ({"options": {"seed": "1"}}, 500, 'option "seed" must be of type integer'),
        ],
    )
    async def test_refusals(self, client, fields, status, error):
        response = await generate(client, **fields)
        assert (response.status_code, response.json()) == (status, {"error": error})

    @pytest.mark.parametrize("fields", [{"prompt": 3}, {"context": ["a"]}, {"raw": "yes"}, {"images": ["!"]}])
    async def test_wrong_types(self, client, fields):
        assert (await generate(client, **fields)).status_code == 400


class TestEmbed:
    async def embed(self, client, **fields):
        return await client.post("/api/embed", json={"model": "demo", **fields})

    async def test_one_and_many(self, client):
        one = (await self.embed(client, input="good soup")).json()
        many = (await self.embed(client, input=["good soup", "rain"])).json()
        assert one["embeddings"] == many["embeddings"][:1]
        assert len(many["embeddings"]) == 2
        assert math.hypot(*one["embeddings"][0]) == pytest.approx(1.0)
        assert (one["model"], one["prompt_eval_count"], many["prompt_eval_count"]) == ("demo", 2, 3)
        assert one["total_duration"] > 0

    @pytest.mark.parametrize("fields", [{}, {"input": ""}, {"input": []}, {"input": None}])
    async def test_nothing_loads(self, client, fields):
        assert (await self.embed(client, **fields)).json()["embeddings"] == []
        assert await loaded(client) is not None

    async def test_dimensions(self, client):
        (vector,) = (await self.embed(client, input="soup rain bread", dimensions=8)).json()["embeddings"]
        assert len(vector) == 8 and math.hypot(*vector) == pytest.approx(1.0)

    async def test_too_long(self, client):
        text, options = "rain " * 50, {"num_ctx": 20}
        cut = (await self.embed(client, input=text, options=options)).json()
        assert cut["prompt_eval_count"] == 20
        response = await self.embed(client, input=text, options=options, truncate=False)
        assert (response.status_code, response.json()) == (
            400,
            {"error": "the input length exceeds the context length"},
        )

    @pytest.mark.parametrize("value", [[1, 2], [["a"]], 3, {"a": 1}])
    async def test_wrong_input(self, client, value):
        response = await self.embed(client, input=value)
        assert (response.status_code, response.json()) == (400, {"error": "invalid input type"})

    async def test_unknown_model(self, client):
        assert (await self.embed(client, model="x", input="a")).status_code == 404
