"""Errors that come after rules were matched say which, and errors of ours say what to do next."""

from __future__ import annotations

import pytest

from tests.sdk import talk

RULES = """
profiles:
  - {name: mine, parameters: {top_p: 0.9}}
rules:
  - {name: seen, match: {model: "*"}, default: {top_k: 5}}
  - {name: no-robots, match: {headers: {user-agent: "robot*"}}, reject: {status: 451, message: "no robots"}}
  - {name: hard, match: {headers: {user-agent: "hard*"}}, on_violation: reject}
  - {name: astray, match: {headers: {user-agent: "lost*"}}, route: {upstream: [nowhere]}}
"""


async def test_a_rejection_names_the_rules() -> None:
    async with talk(rules=RULES) as one:
        reply = await one.attune.chat("llama3:8b", headers={"user-agent": "robot/1"})
        assert (reply.status_code, reply.json()["error"]["message"]) == (451, "no robots")
        assert reply.headers["x-tuning-rules"] == "seen,no-robots"
        assert reply.headers["x-tuning-upstream"]


@pytest.mark.parametrize("headers", [{"x-tuning-strict": "1"}, {"user-agent": "hard/1"}])
async def test_a_strict_refusal_says_what_was_decided_so_far_in_the_clients_words(
    headers: dict[str, str],
) -> None:
    async with talk(rules=RULES) as one:
        reply = await one.attune.chat(
            "llama3:8b", max_completion_tokens=10**7, headers={**headers, "x-tuning-profile": "mine"}
        )
        assert reply.status_code == 400
        assert reply.json()["error"]["param"] == "max_completion_tokens"
        assert reply.headers["x-tuning-profile"] == "mine"
        assert "seen" in reply.headers["x-tuning-rules"]


async def test_strict_refuses_a_slip_of_the_pen_and_a_call_that_cannot_be_forced() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    async with talk() as one:
        for body, param in (
            ({"temprature": 0.2}, "temprature"),
            ({"tools": [tool], "tool_choice": "required"}, "tool_choice"),
            ({"best_of": 2}, "best_of"),
        ):
            reply = await one.attune.chat("llama3:8b", headers={"x-tuning-strict": "1"}, **body)
            assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
            assert reply.json()["error"]["code"] == "attune_strict"
            assert (await one.attune.chat("llama3:8b", **body)).status_code == 200


async def test_a_route_that_leads_nowhere_blames_the_rule() -> None:
    async with talk(rules=RULES) as one:
        reply = await one.attune.chat("llama3:8b", headers={"user-agent": "lost/1"})
        assert reply.status_code == 503
        assert (
            "a rule sends this to upstream nowhere, which does not exist" in reply.json()["error"]["message"]
        )


async def test_an_unknown_profile_lists_what_there_is() -> None:
    async with talk(rules=RULES, builtin_rules=False) as one:
        reply = await one.attune.chat("llama3:8b", headers={"x-tuning-profile": "zzz"})
        assert reply.json()["error"]["message"] == 'there is no profile "zzz"; there are: mine'


async def test_control_calls_take_json_alone() -> None:
    """A page in a browser can send text to a local address without asking; it cannot send JSON."""
    async with talk(rules=RULES) as one:
        reply = await one.attune.client.post("/api/v1/rules/reload", headers={"content-type": "text/plain"})
        assert reply.status_code == 415
        assert (await one.attune.client.post("/api/v1/rules/reload")).status_code == 200


async def test_rules_say_their_file_and_a_bad_file_its_faults() -> None:
    async with talk(rules=RULES) as one:
        shown = (await one.attune.client.get("/api/v1/rules")).json()
        assert {r["file"] for r in shown["rules"]} == {str(one.attune.rules)}
        one.attune.rules.write_text("rules: [{nam: x}]")
        await one.attune.client.post("/api/v1/rules/reload")
        files = (await one.attune.client.get("/api/v1/rules")).json()["files"]
        assert [f["path"] for f in files if f["faults"]] == [str(one.attune.rules)]
