import orjson
import pytest

from proxy.decider import Decider, Incoming
from proxy.decision import Caller, Policy
from proxy.errors import RejectedByRule, StrictViolation
from proxy.offline import Scene, explain
from proxy.openai.request import parse_chat
from proxy.parameters.layers import Layer
from proxy.rules.parse import parse
from proxy.rules.rule import UpstreamEntry
from proxy.snapshot import Snapshot, build
from proxy.writing import Written

RULES = """\
rules:
  - {name: small-goes-big, match: {model: small}, route: {model: big, upstream: "gpu-*"}}
  - {name: only-vllm, match: {runtime: vllm}, default: {top_k: 5}}
  - {name: nobody, match: {user: ""}, default: {seed: 3}}
  - {name: shut, match: {model: shut}, reject: {status: 451, message: "closed"}}
"""


def entry(name: str, **more: object) -> UpstreamEntry:
    return UpstreamEntry.model_validate({"name": name, "url": "http://127.0.0.1:9", **more})


ANY = entry("any", runtime="ollama")
NAMED = entry("gpu-b", runtime="vllm", models=["big", "qwen*"], num_ctx="pin")
SPARE = entry("spare", runtime="vllm", weight=0)
HEAVY = entry("heavy", runtime="vllm", weight=3)
UNDECLARED = entry("undeclared")


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return build([parse(RULES, "rules.yaml")])


def asked(snapshot: Snapshot, scene: Scene, model: str, **body: object) -> Written:
    chat = parse_chat(orjson.dumps({"model": model, "messages": [{"role": "user", "content": ""}], **body}))
    incoming = Incoming(chat, model, model, None, {}, Caller(), "r1")
    return explain(snapshot, incoming, Decider(Policy()), scene)


def test_without_upstreams_the_runtime_is_assumed() -> None:
    scene = Scene(())
    target = scene.target("m")

    assert (target.upstream, target.runtime, target.version, target.model) == (None, "ollama", None, None)
    assert not scene.declares(target)


def test_a_named_runtime_beats_everything() -> None:
    scene = Scene((ANY,), "vllm")

    assert (scene.target("m").upstream, scene.target("m").runtime) == (None, "vllm")
    assert scene.declares(scene.target("m"))
    assert Scene((ANY, UNDECLARED), "vllm").target("m").upstream == "undeclared"


def test_an_upstream_that_names_the_model_comes_first() -> None:
    scene = Scene((ANY, NAMED))

    assert scene.target("Qwen3-8B").upstream == "gpu-b"
    assert scene.target("llama3").upstream == "any"
    assert (scene.serves("BIG"), scene.serves("llama3")) == (True, False)


def test_spares_come_last_and_the_heaviest_first() -> None:
    assert Scene((SPARE, ANY, HEAVY)).target("m").upstream == "heavy"
    assert Scene((SPARE,)).target("m").upstream == "spare"


def test_an_undeclared_runtime_is_assumed_under_the_upstreams_name() -> None:
    scene = Scene((UNDECLARED, NAMED))
    target = scene.target("m")

    assert (target.upstream, target.runtime, scene.declares(target)) == ("undeclared", "ollama", False)
    assert scene.declares(scene.target("big"))


def test_the_num_ctx_policy_is_the_upstreams_own_if_it_has_one() -> None:
    scene = Scene((ANY, NAMED), num_ctx="free")

    assert scene.target("m").num_ctx == "free"
    assert scene.target("big").num_ctx == "pin"


def test_a_model_that_no_upstream_may_serve_has_none() -> None:
    assert Scene((NAMED,)).target("llama3").upstream is None


def test_routes_are_followed_and_rules_see_where_they_lead(snapshot: Snapshot) -> None:
    written = asked(snapshot, Scene((ANY, NAMED)), "small")
    decision = written.prepared.decision

    assert (decision.model, decision.plan.model) == ("small", "big")
    assert (decision.target.upstream, decision.target.runtime) == ("gpu-b", "vllm")
    assert decision.considered.effects.names == ("small-goes-big", "only-vllm", "nobody")
    assert orjson.loads(written.request.body)["model"] == "big"
    assert orjson.loads(written.request.body)["top_k"] == 5


def test_a_request_without_a_route_stays(snapshot: Snapshot) -> None:
    written = asked(snapshot, Scene((ANY, NAMED)), "llama3", temperature=0.3)
    temperature = written.prepared.decision.resolution.parameters["temperature"]

    assert (temperature.value, temperature.layer) == (0.3, Layer.CLIENT)
    assert written.request.path == "/api/chat"
    assert written.prepared.decision.considered.effects.names == ("nobody",)


def test_refusals_are_the_gateways(snapshot: Snapshot) -> None:
    with pytest.raises(RejectedByRule, match="closed") as refusal:
        asked(snapshot, Scene(()), "shut")
    assert refusal.value.status == 451


def test_strict_requests_are_refused_here_too(snapshot: Snapshot) -> None:
    chat = parse_chat(
        orjson.dumps({"model": "m", "messages": [{"role": "user", "content": ""}], "top_p": 1.5})
    )
    incoming = Incoming(chat, "m", "m", None, {b"x-tuning-strict": b"1"}, Caller(), "r1")

    with pytest.raises(StrictViolation, match="top_p"):
        explain(snapshot, incoming, Decider(Policy()), Scene(()))
