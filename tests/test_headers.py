"""Choosing by header: which profile and task apply, and what the response headers say of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.sdk import check_chunks, check_completion
from tests.standing import Standing

PATH = "/v1/chat/completions"
LLAMA, QWEN = "llama3:8b", "qwen3:8b"
ENGINEERING_ID = "00000000-0000-0000-0000-000000000012"
USER: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}

RULES = """
upstreams: [{name: gpu-a, url: "URL", runtime: ollama}]
profiles:
  - {name: house, model: "llama3:8b", parameters: {top_k: 11}, system_prompt: "For the house."}
  - {name: garden, model: "qwen3:8b", parameters: {top_k: 12}}
  - {name: bare, parameters: {top_k: 13}}
  - {name: points, task: key-points, model: "gemma3:4b", parameters: {top_k: 14, temperature: 0.1}}
  - {name: spare, model: "plain", parameters: {top_k: 15}}
rules:
  - {name: aider, match: {headers: {user-agent: "aider*"}}, task: engineering}
  - {name: coding, match: {task: engineering}, default: {seed: 5}}
  - {name: gardeners, match: {headers: {X-Team: [gar*, plants]}}, profile: garden}
  - {name: late-gardeners, match: {headers: {x-team: garden-late}}, profile: bare}
  - {name: autos, match: {model: auto, headers: {x-team: none}}, profile: spare}
  - {name: seven, match: {headers: {x-team: seven}}, set: {seed: 7, mirostat: 2}, append: {stop: [END]}}
  - {name: forgetful, match: {headers: {x-team: forgetful}}, forget: [temperature, top_k], drop: [min_p]}
  - {name: exact, match: {headers: {x-team: exact}}, on_violation: reject}
"""


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    standing = Standing(RULES, virtual_models=True)
    standing.start()
    yield standing
    standing.stop()


def chat(standing: Standing, model: str | None = LLAMA, headers: Any = None, **body: Any) -> httpx.Response:
    """What the proxy answers; a model of `None` is not named at all."""
    named = {} if model is None else {"model": model}
    return standing.post(PATH, USER | named | body, headers)


def sent(standing: Standing) -> dict[str, Any]:
    """What the last answered request became."""
    body: dict[str, Any] = standing.ollama.chats[-1].json
    return body


def code(reply: httpx.Response) -> tuple[int, str, str | None]:
    """An error's status, code and param."""
    error = reply.json()["error"]
    return reply.status_code, error["code"], error["param"]


PRECEDENCE = [
    ({"x-tuning-profile": "house", "x-team": "garden", "x-tuning-task": "key-points"}, "@bare", "house"),
    ({"x-team": "garden", "x-tuning-task": "key-points"}, "@bare", "bare"),
    ({"x-team": "garden", "x-tuning-task": "key-points"}, "", "garden"),
    ({"x-team": "garden-late"}, "", "bare"),
    ({"x-tuning-task": "key-points"}, "", "points"),
    ({"x-tuning-task": "engineering"}, "", "engineering"),
    ({"user-agent": "aider/1"}, "", "engineering"),
    ({"x-tuning-task": "key-points", "user-agent": "aider/1"}, "", "points"),
    ({}, "", None),
    ({"x-tuning-profile": ""}, "@house", "house"),
    ({"x-tuning-profile": ENGINEERING_ID}, "", "engineering"),
]


@pytest.mark.parametrize(("headers", "suffix", "profile"), PRECEDENCE)
def test_the_first_that_names_a_profile_wins(
    standing: Standing, headers: dict[str, str], suffix: str, profile: str | None
) -> None:
    reply = chat(standing, LLAMA + suffix, headers)
    assert reply.headers.get("x-tuning-profile") == profile
    assert reply.json()["model"] == LLAMA + suffix
    assert sent(standing)["model"] == LLAMA
    top_k = {"house": 11, "garden": 12, "bare": 13, "points": 14}.get(profile or "")
    assert sent(standing)["options"].get("top_k") == top_k


def test_a_profiles_prompt_is_for_those_who_bring_none(standing: Standing) -> None:
    chat(standing, f"{LLAMA}@house")
    assert sent(standing)["messages"][0] == {"role": "system", "content": "For the house."}
    own = [{"role": "system", "content": "Mine."}, *USER["messages"]]
    chat(standing, f"{LLAMA}@house", messages=own)
    assert sent(standing)["messages"] == own


@pytest.mark.parametrize("stream", [False, True])
def test_a_profile_that_does_not_exist_lists_near_names(standing: Standing, stream: bool) -> None:
    before = len(standing.ollama.chats)
    reply = chat(standing, headers={"x-tuning-profile": "hause"}, stream=stream)
    assert code(reply) == (400, "attune_unknown_profile", "profile")
    assert "'house'" in reply.json()["error"]["message"]
    reply = chat(standing, f"{LLAMA}@gardn", stream=stream)
    assert code(reply) == (400, "attune_unknown_profile", "model")
    assert "'garden'" in reply.json()["error"]["message"]
    reply = chat(standing, f"{LLAMA}@house", {"x-tuning-profile": "Precise Coding"}, stream=stream)
    assert "'precise_coding'" in reply.json()["error"]["message"]
    assert len(standing.ollama.chats) == before


def test_a_task_that_nobody_knows_changes_nothing_and_is_said(standing: Standing) -> None:
    plain = chat(standing, temperature=0.3)
    expected = sent(standing)
    reply = chat(standing, headers={"x-tuning-task": "enginering", "x-tuning-explain": "1"}, temperature=0.3)
    assert sent(standing) == expected
    assert "x-tuning-profile" not in reply.headers and "x-tuning-rules" not in reply.headers
    (warning,) = reply.json()["tuning"]["warnings"]
    assert "enginering" in warning and "'engineering'" in warning
    assert reply.headers["x-tuning-warnings"] == warning
    assert reply.json()["tuning"]["task"] is None
    assert "x-tuning-warnings" not in plain.headers


def test_a_task_from_a_rule_is_what_later_rules_see(standing: Standing) -> None:
    reply = chat(standing, headers={"user-agent": "aider/1", "x-tuning-explain": "1"})
    assert reply.headers["x-tuning-rules"] == "aider,coding"
    assert reply.json()["tuning"]["task"] == "engineering"
    assert sent(standing)["options"]["seed"] == 5
    reply = chat(standing, headers={"user-agent": "aider/1", "x-tuning-task": "key-points"})
    assert reply.headers["x-tuning-rules"] == "aider"
    assert "seed" not in sent(standing)["options"]


AUTO = [
    ("auto", {"x-tuning-profile": "garden"}, QWEN, "garden"),
    ("auto@house", {}, LLAMA, "house"),
    ("auto@garden", {"x-tuning-profile": "house"}, LLAMA, "house"),
    ("auto", {"x-tuning-task": "key-points"}, "gemma3:4b", "points"),
    ("auto", {"x-team": "plants"}, QWEN, "garden"),
    ("auto", {"x-team": "none"}, "plain", "spare"),
    (None, {"x-tuning-profile": "garden"}, QWEN, "garden"),
    ("", {"x-tuning-profile": "garden"}, QWEN, "garden"),
]


@pytest.mark.parametrize(("asked", "headers", "model", "profile"), AUTO)
@pytest.mark.parametrize("stream", [False, True])
def test_auto_and_no_model_take_the_profiles(
    standing: Standing, asked: str | None, headers: dict[str, str], model: str, profile: str, stream: bool
) -> None:
    reply = chat(standing, asked, headers, stream=stream)
    assert reply.status_code == 200, reply.text
    assert sent(standing)["model"] == model
    assert reply.headers["x-tuning-profile"] == profile
    answer = check_chunks(reply.text)[0] if stream else check_completion(reply.content)
    assert answer.model == (asked or model)


@pytest.mark.parametrize("headers", [{}, {"x-tuning-profile": "bare"}, {"x-tuning-task": "engineering"}])
@pytest.mark.parametrize("asked", ["auto", None, ""])
def test_auto_without_a_model_to_take(standing: Standing, asked: str | None, headers: dict[str, str]) -> None:
    reply = chat(standing, asked, headers)
    assert code(reply) == (400, "attune_bad_body", "model")
    assert "model is required" in reply.json()["error"]["message"]


def test_virtual_names_are_listed_when_switched_on(standing: Standing) -> None:
    listed = standing.get("/v1/models").json()["data"]
    ids = [entry["id"] for entry in listed]
    assert len(ids) == len(set(ids))
    assert {LLAMA, f"{LLAMA}@house", f"{QWEN}@precise_coding", "plain:latest@points"} <= set(ids)
    entry = next(entry for entry in listed if entry["id"] == f"{LLAMA}@house")
    assert standing.get(f"/v1/models/{LLAMA}@house").json() == entry
    assert set(entry) == {"id", "object", "created", "owned_by"} and entry["object"] == "model"
    assert standing.get(f"/v1/models/{LLAMA}@hause").status_code == 404


def test_and_only_then() -> None:
    standing = Standing()
    standing.start()
    try:
        ids = [entry["id"] for entry in standing.get("/v1/models").json()["data"]]
        assert LLAMA in ids and not [name for name in ids if "@" in name]
        assert standing.get(f"/v1/models/{LLAMA}@precise").status_code == 404
        # listed or not, the names work
        assert chat(standing, f"{LLAMA}@precise").headers["x-tuning-profile"] == "precise"
    finally:
        standing.stop()


CHANGED: list[tuple[dict[str, Any], str, str | None]] = [
    ({"temperature": 1.6}, "", "temperature=1.0;clamped-from=1.6"),
    (
        {"temperature": 1.6, "mirostat": 2},
        "",
        "temperature=1.0;clamped-from=1.6, mirostat;dropped=unsupported-by-ollama-0.32",
    ),
    ({"temperature": 0.6, "top_k": 5, "seed": 0, "stop": None}, "", None),
    ({"temperature": 1, "max_tokens": 16}, "", None),
    ({"top_k": -5}, "", "top_k=-1;clamped-from=-5"),
    ({"options": {"temprature": 1}}, "", "options.temprature;dropped=unknown-parameter"),
    ({"options": {"a, b;c=d": 1}}, "", "options.a%2C%20b%3Bc%3Dd;dropped=unknown-parameter"),
    ({"seed": 3}, "seven", "seed=7;asked=3;set-by=rule-seven"),
    ({"seed": 7}, "seven", None),
    ({"temperature": 0.4}, "forgetful", "temperature=0.6;forgotten=0.4"),
    ({"top_k": 3}, "forgetful", "top_k;dropped=forgotten-by-rule-forgetful"),
    ({"min_p": 0.2}, "forgetful", "min_p;dropped=rule-forgetful"),
    ({"think": True}, "", "think;dropped=model-cannot-think"),
    ({"num_ctx": 5000}, "", "num_ctx=8192;clamped-from=5000"),
]


@pytest.mark.parametrize(("body", "team", "changed"), CHANGED)
@pytest.mark.parametrize("stream", [False, True])
def test_the_header_says_what_is_not_as_asked(
    standing: Standing, body: dict[str, Any], team: str, changed: str | None, stream: bool
) -> None:
    reply = chat(standing, LLAMA, {"x-team": team}, **body, stream=stream)
    items = reply.headers.get("x-tuning-changed", "").split(", ")
    # what rule `seven` adds on its own account is another test's
    kept = [item for item in items if not item.startswith(("stop=", "mirostat;")) or "mirostat" in body]
    assert ", ".join(kept) == (changed or "")
    assert reply.headers["x-tuning-upstream"] == "gpu-a"


def test_what_is_appended_is_a_change(standing: Standing) -> None:
    reply = chat(standing, "plain", {"x-team": "seven"}, stop=["a, b;"])
    items = reply.headers["x-tuning-changed"].split(", ")
    assert items[0] == r'stop=["a,\u0020b\u003b","END"];appended=["END"];by=rule-seven'
    assert sent(standing)["options"]["stop"] == ["a, b;", "END"]
    reply = chat(standing, "plain", {"x-team": "seven"})
    assert 'stop=["END"];appended=["END"];by=rule-seven' in reply.headers["x-tuning-changed"].split(", ")
    reply = chat(standing, "plain", {"x-team": "seven"}, stop="END")
    assert "stop=" not in reply.headers["x-tuning-changed"]


def test_a_header_never_grows_beyond_what_servers_take(standing: Standing) -> None:
    options = {f"nothing_{number}_{'x' * 40}": number for number in range(500)}
    reply = chat(
        standing, options=options, stop=["é" * 5000], user="x", **{f"field{n}": 1 for n in range(900)}
    )
    assert reply.status_code == 200
    assert all(len(value) < 5000 and value.isascii() for value in reply.headers.values())
    assert reply.headers["x-tuning-changed"].endswith(" more")


@pytest.mark.parametrize(
    "body", [{"temperature": 1.6}, {"mirostat": 2}, {"options": {"foo": 1}}, {"num_ctx": 5000}]
)
@pytest.mark.parametrize("stream", [False, True])
def test_strict_refuses_what_would_be_changed(standing: Standing, body: dict[str, Any], stream: bool) -> None:
    before = len(standing.ollama.chats)
    name = next(iter(body)) if "options" not in body else "options.foo"
    for headers in ({"x-tuning-strict": "1"}, {"x-team": "exact"}):
        reply = chat(standing, LLAMA, headers, **body, stream=stream)
        assert code(reply) == (400, "attune_strict", name)
        assert name in reply.json()["error"]["message"]
    assert ("exact" in reply.json()["error"]["message"]) and len(standing.ollama.chats) == before
    assert chat(standing, LLAMA, {"x-tuning-strict": "0"}, **body, stream=stream).status_code == 200


def test_strict_lets_everything_else_pass(standing: Standing) -> None:
    fine = {"temperature": 0.0, "top_k": 5, "mirostat": 0, "n": 1, "stop": ["x"], "logit_bias": None}
    reply = chat(standing, QWEN, {"x-tuning-strict": "1"}, **fine)
    assert reply.status_code == 200
    assert chat(standing, LLAMA, {"x-tuning-strict": "1", "x-team": "seven"}).status_code == 200


def test_strict_minds_what_a_rule_forgets_or_drops(standing: Standing) -> None:
    for name in ("temperature", "min_p"):
        reply = chat(standing, LLAMA, {"x-tuning-strict": "1", "x-team": "forgetful"}, **{name: 0.5})
        assert code(reply) == (400, "attune_strict", name)


def test_explain_adds_tuning_and_nothing_else(standing: Standing) -> None:
    explained = {"x-tuning-explain": "1"}
    whole = chat(standing, headers=explained).json()
    assert set(whole) - set(chat(standing).json()) == {"tuning"}
    question = {"model": LLAMA, "headers": {}, "body": USER}
    said = standing.post("/api/v1/explain", question).json()
    assert set(said) - set(whole["tuning"]) == {"upstream_path", "upstream_body"}
    streamed = chat(standing, headers=explained, stream=True).text
    plain = chat(standing, stream=True).text
    assert streamed.count('"tuning"') == 1 and '"tuning"' in streamed.split("\n\n")[0]
    assert '"tuning"' not in plain
    assert len(streamed.split("\n\n")) == len(plain.split("\n\n"))
    for off in ("0", ""):
        assert "tuning" not in chat(standing, headers={"x-tuning-explain": off}).json()


def test_every_answer_has_a_request_id(standing: Standing) -> None:
    replies = [
        chat(standing),
        chat(standing, stream=True),
        chat(standing, "nobody"),
        standing.get("/v1/models"),
    ]
    replies += [standing.get("/api/v1/rules"), standing.get("/nowhere"), standing.post("/api/v1/explain", [])]
    ids = [reply.headers["x-request-id"] for reply in replies]
    assert len(set(ids)) == len(ids)
    own = {"x-request-id": "mine-42", "x-tuning-explain": "1"}
    reply = chat(standing, headers=own)
    assert reply.headers["x-request-id"] == reply.json()["tuning"]["request_id"] == "mine-42"
    assert reply.json()["id"] == "chatcmpl-mine-42"
