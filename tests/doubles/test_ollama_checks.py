"""The double refuses what Ollama refuses, with its status and its words, and takes what Ollama takes."""

import base64
import json

import httpx
import pytest

from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_checks import Refusal, keep_alive, local
from tests.doubles.ollama_models import Model, canonical, full_name, since

USER = [{"role": "user", "content": "hi"}]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n0").decode()
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


@pytest.fixture
async def ollama():
    async with OllamaDouble() as double:
        yield double


@pytest.fixture
async def client(ollama):
    async with httpx.AsyncClient(verify=False, base_url=ollama.url, timeout=5) as client:
        yield client


async def chat(client, **fields):
    return await client.post(
        "/api/chat", json={"model": "llama3:8b", "messages": USER, "stream": False} | fields
    )


def turn(**fields):
    return [{"role": "user", "content": "hi"} | fields]


def call(arguments):
    return [*USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}]


def schema(**parameters):
    return [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"} | parameters}}]


WRONG = {
    "model number": {"model": 5},
    "messages object": {"messages": {}},
    "message text": {"messages": ["hi"]},
    "content array": {"messages": turn(content=[{"type": "text", "text": "hi"}])},
    "content number": {"messages": turn(content=1)},
    "role number": {"messages": turn(role=1)},
    "thinking bool": {"messages": turn(thinking=True)},
    "tool name": {"messages": turn(tool_name=1)},
    "arguments string": {"messages": call('{"a":1}')},
    "arguments list": {"messages": call([1])},
    "index text": {"messages": turn(tool_calls=[{"function": {"index": "0"}}])},
    "stream text": {"stream": "false"},
    "stream number": {"stream": 0},
    "options list": {"options": []},
    "options text": {"options": "temperature"},
    "tools object": {"tools": {}},
    "sub-schema bool": {"tools": schema(properties={"x": True})},
    "nested sub-schema bool": {"tools": schema(properties={"x": {"properties": {"y": False}}})},
    "anyOf bool": {"tools": schema(properties={"x": {"anyOf": [True]}})},
    "required text": {"tools": schema(required="x")},
    "parameters text": {"tools": [{"function": {"name": "f", "parameters": "x"}}]},
    "truncate number": {"truncate": 1},
    "shift text": {"shift": "no"},
    "logprobs text": {"logprobs": "true"},
    "top_logprobs text": {"top_logprobs": "5"},
    "top_logprobs fraction": {"top_logprobs": 1.5},
    "top_logprobs bool": {"top_logprobs": True},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
async def test_wrong_field_type(client, fields):
    answer = await chat(client, **fields)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert list(answer.json()) == ["error"]
    assert "cannot unmarshal" in answer.json()["error"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"think": "loud"}, "invalid think value"),
        ({"think": 1}, "invalid think value"),
        ({"think": {}}, "invalid think value"),
        ({"keep_alive": "10"}, "time: missing unit in duration"),
        ({"keep_alive": "-1"}, "time: missing unit in duration"),
        ({"keep_alive": "5x"}, "time: unknown unit"),
        ({"keep_alive": ""}, "time: invalid duration"),
        ({"keep_alive": "soon"}, "time: invalid duration"),
        ({"keep_alive": True}, "Unsupported type"),
        ({"keep_alive": {}}, "Unsupported type"),
        ({"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
        ({"top_logprobs": -1}, "top_logprobs must be between 0 and 20"),
        ({"messages": turn(images=[f"data:image/png;base64,{PNG}"])}, "illegal base64 data"),
        ({"messages": turn(images=[PNG.rstrip("=") + "AA"])}, "illegal base64 data"),
        ({"messages": turn(images=["https://example.com/a.png"])}, "illegal base64 data"),
        ({"messages": turn(images=[1])}, "illegal base64 data"),
    ],
)
async def test_wrong_value(client, fields, message):
    answer = await chat(client, **fields)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "missing request body"),
        (b" \n", "missing request body"),
        (b"{", "invalid character"),
        (b"nonsense", "invalid character"),
        (b'{"model": NaN}', "invalid character"),
        (b"[1]", "cannot unmarshal"),
        (b"null", "model is required"),
        (b"{}", "model is required"),
        (b'{"model": ""}', "model is required"),
        (b'{"model": null, "messages": []}', "model is required"),
        (b'{"model": "two words"}', "invalid model name"),
        (b'{"model": "llama3:"}', "invalid model name"),
        (b'{"model": "a/b/c/d"}', "invalid model name"),
    ],
)
async def test_body_without_a_request(client, body, message):
    answer = await client.post("/api/chat", content=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


RIGHT = {
    "content null": {"messages": turn(content=None)},
    "content missing": {"messages": [*USER, {"role": "assistant"}]},
    "unknown role": {"messages": turn(role="narrator")},
    "arguments object": {"messages": call({"a": 1})},
    "arguments null": {"messages": call(None)},
    "arguments missing": {"messages": turn(tool_calls=[{"type": "function", "function": {"name": "f"}}])},
    "tool result": {
        "messages": [*USER, {"role": "tool", "content": "1", "tool_name": "f", "tool_call_id": "c"}]
    },
    "unknown fields": {"tool_choice": "none", "n": 3, "max_tokens": 1, "user": [], "stop": "x", "seed": "y"},
    "nulls": {
        "options": None,
        "tools": None,
        "format": None,
        "think": None,
        "keep_alive": None,
        "truncate": None,
    },
    "schema keywords": {
        "tools": schema(additionalProperties=False, properties={"x": {"type": ["string", "null"]}})
    },
    "items and $defs bool": {"tools": schema(items=True, **{"$defs": {"x": True}})},
    "no parameters": {"tools": [{"function": {"name": "f"}}]},
    "truncate and shift": {"truncate": False, "shift": True},
    "format json": {"format": "json"},
    "format empty": {"format": ""},
    "format object": {"format": {"whatever": 1}},
    "think false": {"think": False},
    "upper case": {"MODEL": "plain", "Stream": False},
}


@pytest.mark.parametrize("fields", RIGHT.values(), ids=RIGHT)
async def test_accepted(client, fields):
    answer = await chat(client, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.json()["done"] is True


async def test_keys_fold_and_the_last_wins(client):
    answer = await client.post(
        "/api/chat", content=b'{"model": "nope", "Model": "plain", "STREAM": false} trailing {'
    )
    assert answer.status_code == 200
    assert answer.json()["model"] == "plain"


async def test_content_type_and_bad_utf8_do_not_matter(client):
    body = b'{"model":"plain","stream":false,"messages":[{"role":"user","content":"\xff"}]}'
    answer = await client.post("/api/chat", content=body, headers={"content-type": "image/png"})
    assert answer.status_code == 200
    assert "\ufffd" in answer.json()["message"]["content"]


@pytest.mark.parametrize(
    "name", ["plain", "PLAIN", "plain:latest", "Plain:Latest", "library/plain", "plain:local"]
)
async def test_names_that_mean_the_same_are_echoed(client, name):
    answer = await chat(client, model=name)
    assert (answer.status_code, answer.json()["model"]) == (200, name)


@pytest.mark.parametrize("name", ["nope", "NOPE:7b", "llama3", "me/plain"])
async def test_unknown_model_is_named_as_sent(client, name):
    answer = await chat(client, model=name)
    assert (answer.status_code, answer.json()) == (404, {"error": f"model '{name}' not found"})


def test_name_forms():
    assert canonical("registry.ollama.ai/library/Llama3") == "llama3:latest"
    assert canonical("hf.co/Me/Model:Q4") == "hf.co/me/model:q4"
    assert canonical("libraryx/m") == "libraryx/m:latest"
    assert full_name("x") == "registry.ollama.ai/library/x:latest"
    assert full_name("me/x:1b") == "registry.ollama.ai/me/x:1b"
    assert full_name("hf.co/me/x") == "hf.co/me/x:latest"


@pytest.mark.parametrize(
    ("options", "effective"),
    [
        (
            {},
            {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "repeat_penalty": 1.0, "seed": -1, "stop": None},
        ),
        ({"temperature": 0, "top_k": 5}, {"temperature": 0.0, "top_k": 5, "top_p": 0.95}),
        ({"temperature": None, "top_k": None}, {"temperature": 0.6, "top_k": 20}),
        ({"top_k": 40.9, "seed": -1.5}, {"top_k": 40, "seed": -1}),
        ({"min_p": 1, "typical_p": 0.5}, {"min_p": 1.0, "typical_p": 0.5}),
        ({"temperature": 99, "top_p": -3}, {"temperature": 99.0, "top_p": -3.0}),
        ({"stop": ["a", "b"], "use_mmap": True}, {"stop": ["a", "b"], "use_mmap": True}),
    ],
)
async def test_option_layers(client, ollama, options, effective):
    answer = await chat(client, model="qwen3:8b", options=options)
    assert answer.status_code == 200
    assert ollama.chats[0].effective.items() >= effective.items()
    assert ollama.chats[0].options == options
    assert ollama.warnings == []


@pytest.mark.parametrize(
    "options", [{"Temperature": "hot"}, {"mirostat": 2}, {"tfs_z": 1}, {"num_gqa": 8}, {"x": {}}]
)
async def test_unknown_options_are_only_logged(client, ollama, options):
    answer = await chat(client, options=options)
    assert answer.status_code == 200
    assert ollama.warnings == list(options)
    assert ollama.chats[0].effective.keys().isdisjoint(options)


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("temperature", "0.5", "type float32"),
        ("temperature", True, "type float32"),
        ("top_k", "40", "type integer"),
        ("num_ctx", False, "type integer"),
        ("seed", [1], "type integer"),
        ("use_mmap", "true", "type boolean"),
        ("use_mmap", 1, "type boolean"),
        ("stop", "END", "type array"),
        ("stop", ["END", 1], "an array of strings"),
    ],
)
async def test_wrong_option_type_is_a_500_before_loading(client, ollama, key, value, kind):
    answer = await chat(client, options={key: value})
    assert answer.status_code == 500
    assert answer.json() == {"error": f'option "{key}" must be of {kind}'}
    assert ollama.loaded == {}


async def test_a_bad_type_in_the_model_breaks_every_request(client, ollama):
    ollama.models["broken:latest"] = Model("broken:latest", parameters={"temperature": "hot"})
    answer = await chat(client, model="broken", options={"temperature": 0.1})
    assert answer.status_code == 500


@pytest.mark.parametrize(
    ("version", "key", "known"),
    [
        ("0.6.8", "mirostat", True),
        ("0.7.0", "mirostat", False),
        ("0.6.8", "low_vram", True),
        ("0.5.1", "tfs_z", True),
        ("0.5.2", "tfs_z", False),
        ("0.5.4", "penalize_newline", True),
        ("0.5.5", "penalize_newline", False),
        ("0.3.0", "min_p", False),
        ("0.3.1", "min_p", True),
        ("0.24.0", "draft_num_predict", False),
        ("0.0.0", "draft_num_predict", True),
    ],
)
async def test_options_come_and_go(client, ollama, version, key, known):
    ollama.version = version
    value = key in ("low_vram", "penalize_newline") or 1
    assert (await chat(client, options={key: value})).status_code == 200
    assert (ollama.warnings == []) is known
    assert (await chat(client, options={key: "x"})).status_code == (500 if known else 200)


@pytest.mark.parametrize(("version", "penalty"), [("0.32.9", 1.1), ("0.32.10", 1.0), ("0.33.0-rc2", 1.0)])
async def test_default_repeat_penalty_changed(client, ollama, version, penalty):
    ollama.version = version
    await chat(client)
    assert ollama.chats[0].effective["repeat_penalty"] == penalty


def test_versions_compare_by_number():
    assert since("0.10.0", "0.9.6")
    assert not since("0.9.6", "0.10.0")
    assert since("0.0.0", "0.32.15")


REFUSED = {
    "tools": (
        {"model": "plain", "tools": [TOOL]},
        "registry.ollama.ai/library/plain:latest does not support tools",
    ),
    "think": ({"model": "Plain", "think": True}, '"Plain" does not support thinking'),
    "level": ({"model": "llama3:8b", "think": "low"}, '"llama3:8b" does not support thinking'),
    "embedding": ({"model": "nomic-embed-text"}, '"nomic-embed-text" does not support chat'),
}


@pytest.mark.parametrize(("fields", "message"), REFUSED.values(), ids=REFUSED)
async def test_capability_missing(client, fields, message):
    answer = await chat(client, **fields)
    assert (answer.status_code, answer.json()) == (400, {"error": message})


async def test_no_tools_are_no_demand(client):
    assert (await chat(client, model="plain", tools=[])).status_code == 200


@pytest.mark.parametrize(
    ("model", "think", "effort"),
    [
        ("qwen3:8b", None, "some"),
        ("qwen3:8b", True, "some"),
        ("qwen3:8b", False, None),
        ("qwen3:8b", "low", "low"),
        ("qwen3:8b", "max", "max"),
        ("deepseek-r1:8b", "high", "high"),
        ("gpt-oss:20b", None, "medium"),
        ("gpt-oss:20b", True, "medium"),
        ("gpt-oss:20b", False, "medium"),
        ("gpt-oss:20b", "low", "low"),
        ("gpt-oss:20b", "max", "high"),
        ("plain", None, None),
        ("plain", False, None),
    ],
)
async def test_think(client, model, think, effort):
    message = (await chat(client, model=model, think=think)).json()["message"]
    assert ("thinking" in message) is (effort is not None)
    assert effort is None or f"{effort} effort" in message["thinking"]


@pytest.mark.parametrize(
    ("version", "think", "outcome"),
    [
        ("0.8.0", True, "silent"),
        ("0.9.0", True, "thinks"),
        ("0.9.0", None, "silent"),
        ("0.12.4", None, "thinks"),
        ("0.11.0", "low", 400),
        ("0.11.1", "low", "thinks"),
        ("0.21.0", "max", 400),
        ("0.22.0", "max", "thinks"),
    ],
)
async def test_think_by_version(client, ollama, version, think, outcome):
    ollama.version = version
    answer = await chat(client, model="qwen3:8b", think=think)
    if outcome == 400:
        assert answer.status_code == 400
    else:
        assert ("thinking" in answer.json()["message"]) is (outcome == "thinks")


async def test_image_on_a_text_model_is_json_in_json(client):
    answer = await chat(client, messages=turn(images=[PNG]))
    assert answer.status_code == 500
    inner = json.loads(answer.json()["error"])["error"]
    assert inner["code"] == 500
    assert inner["message"].startswith("image input is not supported")


async def test_image_on_a_vision_model(client):
    folded = PNG[:5] + "\r\n" + PNG[5:]
    assert (await chat(client, model="gemma3:4b", messages=turn(images=[folded]))).status_code == 200


async def test_audio_travels_as_an_image_and_needs_ears(client, ollama):
    ollama.models["ears:latest"] = Model("ears:latest", ("completion", "audio"))
    wav = base64.b64encode(b"RIFF\x24\0\0\0WAVEfmt ").decode()
    webp = base64.b64encode(b"RIFF\x24\0\0\0WEBPVP8 ").decode()
    assert (await chat(client, model="ears", messages=turn(images=[wav]))).status_code == 200
    for picture in (PNG, webp):
        assert (await chat(client, model="ears", messages=turn(images=[picture]))).status_code == 500
        assert (await chat(client, model="ears", messages=turn(images=[wav, picture]))).status_code == 500
    assert (await chat(client, messages=turn(images=[wav]))).status_code == 500


@pytest.mark.parametrize("form", ["yaml", 1, True, ["json"]])
async def test_invalid_format(client, form):
    answer = await chat(client, format=form)
    assert (answer.status_code, answer.json()) == (500, {"error": "invalid format"})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (10, 10.0),
        (0, 0.0),
        (1.5, 1.5),
        (-1, float("inf")),
        ("-1s", float("inf")),
        ("-1m", float("inf")),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("300ms", 0.3),
        ("1.5h", 5400.0),
        ("0", 0.0),
        ("0s", 0.0),
    ],
)
def test_durations(value, seconds):
    assert keep_alive(value) == pytest.approx(seconds)


def test_a_duration_is_no_list():
    with pytest.raises(Refusal, match="Unsupported type"):
        keep_alive(["5m"])


@pytest.mark.parametrize(
    ("host", "origin", "welcome"),
    [
        ("localhost", None, True),
        ("localhost:11434", None, True),
        ("127.0.0.1:11434", None, True),
        ("[::1]:11434", None, True),
        ("box.local", None, True),
        ("ollama.example.com", None, False),
        ("8.8.8.8", None, False),
        ("localhost", "http://localhost:3000", True),
        ("localhost", "https://127.0.0.1", True),
        ("localhost", "app://thing", True),
        ("localhost", "https://example.com", False),
        ("localhost", "http://localhost.example.com", False),
    ],
)
async def test_foreign_callers(client, ollama, host, origin, welcome):
    assert local(host, origin) is welcome
    headers = {"host": host} | ({"origin": origin} if origin else {})
    answer = await client.get("/api/version", headers=headers)
    assert answer.status_code == (200 if welcome else 403)
    assert bool(answer.content) is welcome
