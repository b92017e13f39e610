"""Which model and profile a request names."""

from __future__ import annotations

import pytest

from proxy.api.naming import Named, name, split
from proxy.decision import Caller
from proxy.errors import BadBody, RejectedByRule, UnknownProfile
from proxy.snapshot import Snapshot, build
from tests.rules.files import parsed

ID = "00000000-0000-0000-0000-00000000abcd"
RULES = """\
profiles:
  - {name: terse, parameters: {max_tokens: 64}}
  - {name: coder, task: engineering, model: "qwen3-coder:30b", id: ID}
  - {name: chatty, model: "llama3:8b"}
rules:
  - {name: by-agent, match: {headers: {user-agent: "aider*"}}, profile: coder}
  - {name: by-task, match: {headers: {user-agent: "reviewer*"}}, task: engineering}
  - {name: no-robots, match: {headers: {user-agent: "robot*"}}, reject: {message: "no robots"}}
"""


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return build([parsed(RULES.replace("id: ID", f"id: {ID}"))])


def serves(model: str) -> bool:
    return model in {"llama3:8b", "org/m@v2", "weird@terse"}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("llama3:8b", ("llama3:8b", None)),
        ("llama3:8b@terse", ("llama3:8b", "terse")),
        (f"llama3:8b@{ID}", ("llama3:8b", ID)),
        # a name that is served as it stands is one name, even if it ends like a profile
        ("org/m@v2", ("org/m@v2", None)),
        ("weird@terse", ("weird@terse", None)),
        ("org/m@v2@terse", ("org/m@v2", "terse")),
        # a model that nobody is known to serve may still be there
        ("unknown@terse", ("unknown", "terse")),
        ("unknown@nothing", ("unknown@nothing", None)),
        ("@terse", ("@terse", None)),
        ("auto@terse", ("auto", "terse")),
    ],
)
def test_a_name_taken_apart(snapshot: Snapshot, model: str, expected: tuple[str, str | None]) -> None:
    assert split(model, snapshot, serves) == expected


@pytest.mark.parametrize("model", ["llama3:8b@ters", "auto@ters", "llama3:8b@"])
def test_a_model_with_a_profile_that_does_not_exist(snapshot: Snapshot, model: str) -> None:
    with pytest.raises(UnknownProfile) as caught:
        split(model, snapshot, serves)
    assert (caught.value.status, caught.value.param) == (400, "model")


def test_near_names_are_offered(snapshot: Snapshot) -> None:
    with pytest.raises(UnknownProfile, match="terse"):
        split("llama3:8b@ters", snapshot, serves)


def named(snapshot: Snapshot, asked: str | None, caller: Caller | None = None, **headers: str) -> Named:
    lower = {key.replace("_", "-"): value for key, value in headers.items()}
    return name(asked, lower, snapshot, caller or Caller(), serves)


def test_the_answer_bears_the_name_that_was_asked_for(snapshot: Snapshot) -> None:
    assert named(snapshot, "llama3:8b@terse") == Named("llama3:8b", "llama3:8b@terse", "terse")


def test_the_header_goes_before_the_name(snapshot: Snapshot) -> None:
    found = named(snapshot, "llama3:8b@terse", x_tuning_profile="chatty")
    assert found == Named("llama3:8b", "llama3:8b@terse", "chatty")


@pytest.mark.parametrize("asked", ["auto", None])
def test_auto_and_no_model_are_the_profiles_model(snapshot: Snapshot, asked: str | None) -> None:
    assert named(snapshot, asked, x_tuning_profile="chatty").model == "llama3:8b"
    assert named(snapshot, asked, user_agent="aider/1").model == "qwen3-coder:30b"
    assert named(snapshot, asked, x_tuning_task="engineering").model == "qwen3-coder:30b"
    assert named(snapshot, asked, user_agent="reviewer").model == "qwen3-coder:30b"
    assert named(snapshot, asked, Caller(default_profile="chatty")).model == "llama3:8b"


def test_auto_with_a_profile_behind_it(snapshot: Snapshot) -> None:
    found = named(snapshot, "auto@chatty")
    assert (found.model, found.profile) == ("llama3:8b", "chatty")


@pytest.mark.parametrize("asked", ["auto", None])
def test_without_a_profile_that_names_a_model(snapshot: Snapshot, asked: str | None) -> None:
    with pytest.raises(BadBody, match="no profile applies that names one") as caught:
        named(snapshot, asked)
    assert caught.value.param == "model"
    with pytest.raises(BadBody, match="profile terse names none"):
        named(snapshot, asked, x_tuning_profile="terse")


def test_an_unknown_profile_in_the_header(snapshot: Snapshot) -> None:
    with pytest.raises(UnknownProfile, match="chatt"):
        named(snapshot, "auto", x_tuning_profile="chatt")


def test_a_rule_may_refuse_before_a_model_is_known(snapshot: Snapshot) -> None:
    with pytest.raises(RejectedByRule, match="no robots"):
        named(snapshot, "auto", user_agent="robot")


def test_a_model_that_is_called_auto(snapshot: Snapshot) -> None:
    found = name("auto", {}, snapshot, Caller(), lambda model: model == "auto")
    assert found == Named("auto", "auto", None)
