"""Which value wins, seen at the upstream: each layer beats those below, then append, clamp, drop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from proxy.parameters.layers import Layer
from tests.doubles.ollama_models import Model
from tests.running import attune
from tests.sdk import HI, talk
from tests.standing import Standing

HOUSE = "house:8b"
FREE = "free:8b"

RULES = """
upstreams: [{name: gpu-a, url: "URL", runtime: ollama}]
families:
  - name: house
    match: ["house*"]
    thinking: {default: "on", switch: enable_thinking}
    parameters: {temperature: {min: 0.2, max: 1.0}, top_k: {runtime: {ollama: {max: 200}, vllm: {max: 2}}}}
    recommended:
      - {mode: thinking, values: {top_k: 2, temperature: 0.6}, source: "card, thinking", grade: A}
      - {mode: non-thinking, values: {top_k: 22, temperature: 0.7}, source: "card, plain", grade: B}
      - {mode: any, task: key-points, values: {top_k: 222}, source: "card, points", grade: C}
profiles:
  - {name: house, parameters: {top_k: 5}}
rules:
  - {name: first, match: {headers: {x-layers: "*d*"}}, default: {top_k: 60}}
  - {name: second, match: {headers: {x-layers: "*d*"}}, default: {top_k: 6}}
  - {name: third, match: {headers: {x-layers: "*s*"}}, set: {top_k: 90}}
  - {name: fourth, match: {headers: {x-layers: "*s*"}}, set: {top_k: 9}}
  - {name: wide, match: {headers: {x-do: "*wide*"}}, clamp: {temperature: {min: -3, max: 5}}}
  - {name: narrow, match: {headers: {x-do: "*narrow*"}}, clamp: {temperature: {max: 0.8}, max_tokens: {min: 9, max: 99}}}
  - {name: narrower, match: {headers: {x-do: "*narrower*"}}, clamp: {temperature: {min: 0.5, max: 0.9}, stop: {max: 2}}}
  - {name: adds, match: {headers: {x-do: "*adds*"}}, append: {stop: ["</s>", "END"]}}
  - {name: adds-more, match: {headers: {x-do: "*adds*"}}, append: {stop: ["</s>", "FIN"]}}
  - {name: drops, match: {headers: {x-do: "*drops*"}}, drop: [temperature, stop], set: {temperature: 0.9}}
  - {name: forgets, match: {headers: {x-do: "*forgets*"}}, forget: [temperature, stop, seed]}
experiments:
  - {name: e, match: {headers: {x-layers: "*e*"}}, variants: [{name: only, weight: 1, parameters: {top_k: 7}}]}
"""


class House(Standing):
    """With a model of the family, and one of no family."""

    def prepare(self) -> None:
        able = ("completion", "tools", "thinking")
        self.ollama.models |= {
            HOUSE: Model(HOUSE, able, 8192, {"top_k": 1, "stop": ["<end>"]}),
            FREE: Model(FREE, able, 8192),
        }


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    house = House(RULES)
    house.start()
    yield house
    house.stop()


def ask(
    house: Standing, headers: dict[str, str] | None = None, model: str = HOUSE, **body: Any
) -> httpx.Response:
    """The answer, with its decision."""
    headers = {"x-tuning-explain": "1", "x-tuning-session": "s", **(headers or {})}
    reply = house.post("/v1/chat/completions", {"model": model, "messages": HI, **body}, headers)
    assert reply.status_code == 200, reply.text
    return reply


def options(house: Standing) -> dict[str, Any]:
    """What the upstream got."""
    return house.ollama.chats[-1].options


# from the lowest layer up: what names it, what goes upstream, the layer that it came from, its source
LADDER: list[tuple[str, str, Any, Layer, str]] = [
    ("runtime", "", 1, Layer.RUNTIME, "Modelfile"),
    ("vendor", "v", 2, Layer.VENDOR, "family house"),
    ("profile", "p", 5, Layer.PROFILE, "profile house"),
    ("rule-default", "d", 6, Layer.RULE_DEFAULT, "rule second"),
    ("experiment", "e", 7, Layer.EXPERIMENT, "experiment e/only"),
    ("client", "c", 0, Layer.CLIENT, "request"),
    ("rule-set", "s", 9, Layer.RULE_SET, "rule fourth"),
]


@pytest.mark.parametrize("step", range(1, len(LADDER)))
def test_each_layer_beats_all_below(house: House, step: int) -> None:
    letters = "".join(letter for _, letter, *_ in LADDER[: step + 1])
    headers = {"x-layers": letters} | ({"x-tuning-profile": "house"} if "p" in letters else {})
    reply = ask(house, headers, **({"top_k": 0} if "c" in letters else {}))
    label, _, value, layer, source = LADDER[step]
    entry = reply.json()["tuning"]["parameters"]["top_k"]
    assert options(house)["top_k"] == value == entry["value"]
    assert (entry["layer"], entry["source"], entry["wire"]) == (label, source, "options.top_k")
    assert layer.label == label
    # a layer's losing rules are passed over too, right behind its winner
    below = [(name, value) for name, _, value, *_ in reversed(LADDER[:step])]
    over = [(c["layer"], c["value"]) for c in entry["passed_over"]]
    assert [c for c in over if c[1] not in (60, 90)] == below
    if "d" in letters:
        assert ("rule-default", 60) in over


def test_the_layers_stand_in_the_contracts_order() -> None:
    names = "runtime vendor override-runtime override-model profile rule-default experiment client rule-set"
    assert [layer.label for layer in Layer] == names.split()


async def test_what_the_runtime_would_use_is_shown_and_not_sent() -> None:
    async with talk(Model(FREE, context_length=8192, parameters={"top_k": 1, "stop": ["<end>"]})) as one:
        reply = await one.attune.chat(FREE, headers={"x-tuning-explain": "1"})
        assert set(one.ollama.chats[-1].json) == {"model", "messages", "stream"}
        shown = reply.json()["tuning"]["parameters"]
        assert {name: (e["value"], e["layer"], e["wire"]) for name, e in shown.items()} == {
            "top_k": (1, "runtime", None),
            "stop": (["<end>"], "runtime", None),
        }
        assert "x-tuning-changed" not in reply.headers


@pytest.mark.parametrize(
    ("body", "headers", "top_k", "mode"),
    [
        ({}, {}, 2, "thinking"),
        ({"think": False}, {}, 22, "non-thinking"),
        ({"reasoning_effort": "low"}, {}, 2, "thinking"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, {}, 22, "non-thinking"),
        ({}, {"x-tuning-task": "key-points"}, 200, "non-thinking"),
    ],
)
def test_the_vendors_values_go_by_mode_and_task(
    house: House, body: dict[str, Any], headers: dict[str, str], top_k: int, mode: str
) -> None:
    reply = ask(house, headers, **body)
    assert options(house)["top_k"] == top_k
    assert reply.json()["tuning"]["mode"] == mode
    assert "evidence" in reply.json()["tuning"]["parameters"]["top_k"]


async def test_the_vendors_values_can_be_switched_off() -> None:
    async with talk(vendor_defaults=False) as one:
        await one.attune.chat("qwen3:8b")
        assert "options" not in one.ollama.chats[-1].json


@pytest.mark.parametrize(("value", "sent"), [(0, 0), (0.0, 0.0), (None, 0.6), (1, 1), (1.0, 1.0)])
def test_zero_is_a_value_and_null_is_none(house: House, value: Any, sent: Any) -> None:
    ask(house, temperature=value, model="llama3:8b")
    assert json.dumps(options(house)["temperature"]) == json.dumps(sent)


def test_false_is_a_value_too(house: House) -> None:
    ask(house, think=False, use_mmap=False)
    body = house.ollama.chats[-1].json
    assert (body["think"], body["options"]["use_mmap"]) == (False, False)


CLAMPS = [
    (3.0, "", 1.0, "family house: max 1.0"),
    (0.1, "", 0.2, "family house: min 0.2"),
    (3.0, "wide", 1.0, "family house: max 1.0"),
    (-1, "wide", 0.2, "family house: min 0.2"),
    (3.0, "wide narrow", 0.8, "rule narrow: max 0.8"),
    (0.1, "narrower", 0.5, "rule narrower: min 0.5"),
    (3.0, "narrow narrower", 0.8, "rule narrow: max 0.8"),
]


@pytest.mark.parametrize(("asked", "do", "sent", "by"), CLAMPS)
def test_ranges_narrow_each_other_and_never_widen(
    house: House, asked: Any, do: str, sent: Any, by: str
) -> None:
    reply = ask(house, {"x-do": do}, temperature=asked)
    entry = reply.json()["tuning"]["parameters"]["temperature"]
    assert options(house)["temperature"] == entry["value"] == sent
    assert entry["clamped"] == {"from": asked, "by": by}
    assert entry["requested"] == asked
    assert reply.headers["x-tuning-changed"] == f"temperature={sent};clamped-from={asked}"


@pytest.mark.parametrize(("asked", "sent"), [(-1, 99), (5, 9), (500, 99), (9, 9)])
def test_no_limit_is_above_every_limit(house: House, asked: int, sent: int) -> None:
    ask(house, {"x-do": "narrow"}, max_tokens=asked)
    assert options(house)["num_predict"] == sent


@pytest.mark.parametrize("asked", [16, 4000, -1])
def test_the_forms_bounds_hold_nobody(house: House, asked: int) -> None:
    reply = ask(house, model=FREE, max_tokens=asked, top_k=150, repeat_penalty=0.9, temperature=2.5)
    assert options(house) == {"num_predict": asked, "top_k": 150, "repeat_penalty": 0.9, "temperature": 2.5}
    assert "x-tuning-changed" not in reply.headers


def test_append_then_clamp_then_drop(house: House) -> None:
    ask(house, {"x-do": "adds"}, stop=["mine", "END"], model=FREE)
    assert options(house)["stop"] == ["mine", "END", "</s>", "FIN"]
    reply = ask(house, {"x-do": "adds narrower"}, stop=["mine"], model=FREE)
    assert options(house)["stop"] == ["mine", "</s>"]
    entry = reply.json()["tuning"]["parameters"]["stop"]
    assert [a["by"] for a in entry["appended"]] == ["rule adds", "rule adds-more"]
    assert entry["clamped"]["by"] == "rule narrower: at most 2 items"
    reply = ask(house, {"x-do": "adds drops"}, stop=["mine"], temperature=0.5, model=FREE)
    assert "options" not in house.ollama.chats[-1].json
    dropped = reply.json()["tuning"]["dropped"]
    assert {name: (d["value"], d["reason"]) for name, d in dropped.items()} == {
        "stop": (["mine"], "dropped by rule drops"),
        "temperature": (0.5, "dropped by rule drops"),
    }


def test_the_models_own_stops_are_kept(house: House) -> None:
    reply = ask(house, stop="mine")
    assert options(house)["stop"] == ["mine", "<end>"]
    assert 'stop=["mine","<end>"];appended=["<end>"]' in reply.headers["x-tuning-changed"]
    ask(house, stop=[])
    assert "stop" not in options(house)


def test_forgotten_is_as_if_it_had_not_been_sent(house: House) -> None:
    reply = ask(house, {"x-do": "forgets"}, temperature=0, seed=4)
    assert options(house)["temperature"] == 0.6 and "seed" not in options(house)
    tuning = reply.json()["tuning"]
    assert tuning["parameters"]["temperature"]["forgotten"] == {"value": 0, "by": "rule forgets"}
    assert tuning["dropped"]["seed"]["reason"] == "forgotten by rule forgets"
    assert (
        reply.headers["x-tuning-changed"]
        == "temperature=0.6;forgotten=0, seed;dropped=forgotten-by-rule-forgets"
    )


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"temperature": "0.5"}, "temperature", "a number"),
    ({"options": {"num_ctx": "4096"}}, "options.num_ctx", "an integer"),
    ({"generation_params": {"think": "much"}}, "generation_params.think", "true, false or one of"),
    ({"stop": 5}, "stop", "a list of strings"),
    ({"mirostat": 3}, "mirostat", "one of 0, 1, 2"),
]


@pytest.mark.parametrize(("body", "name", "accepted"), WRONG)
def test_a_wrong_type_names_parameter_value_and_what_is_accepted(
    house: House, body: dict[str, Any], name: str, accepted: str
) -> None:
    reply = house.post("/v1/chat/completions", {"model": HOUSE, "messages": HI, **body})
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, name)
    value = next(iter(body.values()))
    inner = value[next(iter(value))] if isinstance(value, dict) else value
    assert all(words in error["message"] for words in (name, accepted, json.dumps(inner)))


# policy, contexts asked for one after the other, contexts sent, reloads
POLICIES = [
    ("free", [3000, 5000, 3000], [3000, 5000, 3000], 2),
    ("bucket", [3000, 2500, 5000, 3000, 8000, 8192, 100], [4096, 4096, 8192, 8192, 8192, 8192, 8192], 1),
    ("pin", [3000, 5000, 2048, 8192], [3000, 3000, 3000, 3000], 0),
    ("bucket", [1, 9000, 10**9], [2048, 8192, 8192], 1),
]


@pytest.mark.parametrize(("policy", "asked", "sent", "reloads"), POLICIES)
async def test_num_ctx_does_not_reload_again_and_again(
    policy: str, asked: list[int], sent: list[int], reloads: int
) -> None:
    async with talk(Model(FREE, context_length=8192), num_ctx=policy) as one:
        for want, get in zip(asked, sent, strict=True):
            reply = await one.attune.chat(FREE, num_ctx=want)
            assert one.ollama.chats[-1].options == {"num_ctx": get}
            said = f"num_ctx={get};clamped-from={want}"
            assert reply.headers.get("x-tuning-changed") == (said if get != want else None)
            await one.attune.chat(FREE)  # who asks for nothing changes nothing
            assert "options" not in one.ollama.chats[-1].json
        assert one.ollama.reloads == reloads


async def test_an_upstreams_own_policy_and_the_trained_context() -> None:
    rules = 'upstreams: [{name: a, url: "URL", num_ctx: free}]'
    async with talk(Model(FREE, context_length=6000), rules=rules, num_ctx="pin") as one:
        for want, get in ((3000, 3000), (5000, 5000), (6001, 6000)):
            reply = await one.attune.chat(FREE, num_ctx=want, headers={"x-tuning-explain": "1"})
            assert one.ollama.chats[-1].options == {"num_ctx": get}
        clamped = reply.json()["tuning"]["parameters"]["num_ctx"]["clamped"]
        assert clamped == {"from": 6001, "by": f"{FREE}: trained context: max 6000"}


async def test_protected_parameters_can_be_kept_from_clients() -> None:
    async with talk(protected="drop") as one:
        reply = await one.attune.chat(num_ctx=5000, num_gpu=1, keep_alive=0, top_k=5)
        assert one.ollama.chats[-1].options["top_k"] == 5
        assert not {"num_ctx", "num_gpu"} & set(one.ollama.chats[-1].options)
        assert "keep_alive" not in one.ollama.chats[-1].json
        assert all(f"{name};dropped=" in reply.headers["x-tuning-changed"] for name in ("num_ctx", "num_gpu"))


async def test_experiments_keep_a_session_and_leave_others_alone() -> None:
    arms = "{name: a, weight: 1, parameters: {seed: 1}}, {name: b, weight: 1, parameters: {seed: 2}}"
    rules = f"experiments: [{{name: e, match: {{model: 'llama*'}}, variants: [{arms}]}}]"
    async with talk(rules=rules) as one:
        seen: dict[str, set[int]] = {}
        for session in [f"s{number}" for number in range(12)] * 2:
            await one.attune.chat(headers={"x-tuning-session": session})
            seen.setdefault(session, set()).add(one.ollama.chats[-1].options["seed"])
        assert {len(seeds) for seeds in seen.values()} == {1}
        assert set.union(*seen.values()) == {1, 2}
        for model, headers in (("llama3:8b", {}), ("qwen3:8b", {"x-tuning-session": "s1"})):
            await one.attune.chat(model, headers=headers)
            assert "seed" not in one.ollama.chats[-1].options


async def test_the_demo_decides_as_any_ollama_does() -> None:
    async with attune(demo=True) as demo:
        listed = (await demo.client.get("/v1/models")).json()["data"]
        said = await demo.explain(listed[0]["id"], mirostat=2, temperature=0, num_predict=5)
        assert said["runtime"] == "ollama" and said["upstream"] == "demo"
        assert said["upstream_body"]["options"] == {"mirostat": 2, "temperature": 0, "num_predict": 5}


async def test_a_route_stands_whatever_the_other_model_can_do() -> None:
    rules = """
rules:
  - {name: moves, match: {model: "qwen3*", thinking: true}, set: {seed: 1}, route: {model: "llama3:8b"}}
"""
    async with talk(rules=rules) as one:
        reply = await one.attune.chat("qwen3:8b")
        sent = one.ollama.chats[-1].json
        assert (sent["model"], reply.json()["model"]) == ("llama3:8b", "qwen3:8b")
        assert reply.headers["x-tuning-rules"] == "moves" and sent["options"]["seed"] == 1
