import orjson
import pytest

from proxy.backends.facts import Target
from proxy.decider import Decider, Incoming, Prepared
from proxy.decision import Caller, Policy
from proxy.openai.request import parse_chat
from proxy.rules.parse import parse
from proxy.snapshot import Snapshot, build
from proxy.writing import Written, system_prompt, write

RULES = """\
profiles:
  - {name: terse, parameters: {max_tokens: 64}, system_prompt: "Be terse."}
rules:
  - {name: careful, match: {task: engineering}, system_prompt: {prepend: "Be careful."}}
"""


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return build([parse(RULES, "rules.yaml")])


def decided(
    snapshot: Snapshot, *, profile: str | None = None, system: str | None = None, **body: object
) -> Written:
    messages = [{"role": "user", "content": "Hi"}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    task = body.pop("task", None)
    headers = {b"x-tuning-task": str(task).encode()} if task else {}
    chat = parse_chat(orjson.dumps({"model": "m", "messages": messages, **body}))
    incoming = Incoming(chat, "m", "m", profile, headers, Caller(), "r1")
    prepared = Decider(Policy()).decide(snapshot, 0, incoming, Target("gpu", "ollama"))
    assert isinstance(prepared, Prepared)
    return write(incoming, prepared)


def sent(written: Written) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in orjson.loads(written.request.body)["messages"]]


def test_messages_that_nothing_edits_keep_their_system_prompt(snapshot: Snapshot) -> None:
    written = decided(snapshot, system="Own words.")

    assert written.system_source is None
    assert sent(written) == [("system", "Own words."), ("user", "Hi")]
    assert written.tuning("r1")["system_prompt"] is None


def test_a_profiles_prompt_is_for_requests_that_bring_none(snapshot: Snapshot) -> None:
    without = decided(snapshot, profile="terse")
    with_one = decided(snapshot, profile="terse", system="Own words.")

    assert sent(without) == [("system", "Be terse."), ("user", "Hi")]
    assert without.system_source == "profile terse"
    assert sent(with_one)[0] == ("system", "Own words.")
    assert with_one.system_source == "request"


def test_rules_edit_what_stands_then_and_every_hand_is_named(snapshot: Snapshot) -> None:
    written = decided(snapshot, profile="terse", task="engineering")

    assert sent(written)[0] == ("system", "Be careful.\n\nBe terse.")
    assert written.system_source == "profile terse + rule careful"


def test_messages_are_not_rewritten_when_nothing_edits_them(snapshot: Snapshot) -> None:
    chat = parse_chat(b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}')
    incoming = Incoming(chat, "m", "m", None, {}, Caller(), "r1")
    prepared = Decider(Policy()).decide(snapshot, 0, incoming, Target("gpu", "ollama"))
    assert isinstance(prepared, Prepared)

    assert system_prompt(incoming, prepared) == (None, None)


def test_an_explanation_is_the_decision_and_what_would_be_sent(snapshot: Snapshot) -> None:
    written = decided(snapshot, temperature=0.4)
    explained = written.explanation("r1")

    assert explained["upstream_path"] == "/api/chat"
    assert explained["upstream_body"]["options"] == {"temperature": 0.4}
    assert {k: v for k, v in explained.items() if not k.startswith("upstream_")} == written.tuning("r1")
    assert explained["request_id"] == "r1"


def test_what_a_request_lost_on_the_way_is_in_its_headers(snapshot: Snapshot) -> None:
    plain = decided(snapshot)
    lossy = decided(snapshot, messages=[{"role": "user", "name": "Ann", "content": "Hi"}])

    assert plain.headers is plain.prepared.headers
    assert lossy.request.warnings
    assert dict(lossy.headers)[b"x-tuning-warnings"]
    assert lossy.tuning("r1")["warnings"] == list(lossy.request.warnings)
