from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from proxy.parameters.profiles import GPU_OPTIONS, CircuitBreaker, Profile, default_id
from proxy.parameters.tasks import TASK_NAMES, TASKS, system_profile_id

ROOT = Path(__file__).parents[2]
TASKS_FILE = ROOT / "rules" / "profiles" / "tasks.yaml"
PRESETS_FILE = ROOT / "rules" / "profiles" / "presets.yaml"
DOC = ROOT / "docs" / "profiles.md"

PRESETS = ["creative", "precise", "balanced", "creative_coding", "precise_coding", "debugging", "explanation"]
NOTHING_TO_SAMPLE = {"embedding", "image-generation", "reranking"}

TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("temperature", "top_p", "min_p", "typical_p", "repeat_penalty"), float),
    **dict.fromkeys(
        ("presence_penalty", "frequency_penalty", "mirostat_tau", "mirostat_eta", "tfs_z"), float
    ),
    **dict.fromkeys(
        ("top_k", "max_tokens", "min_tokens", "repeat_last_n", "seed", "mirostat", "num_keep"), int
    ),
    **dict.fromkeys(("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread"), int),
    "stop": list,
    "use_mmap": bool,
    "think": (bool, str),
    "keep_alive": (int, str),
}
BOUNDS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "max_tokens": (128, 8192),
    "top_p": (0, 1),
    "top_k": (1, 100),
    "repeat_penalty": (1, 2),
}


def read(path: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(document) == ["profiles"]
    return list(document["profiles"])


SHIPPED = {
    entry["name"]: Profile.model_validate(entry)
    for path in (TASKS_FILE, PRESETS_FILE)
    for entry in read(path)
}


def places(bad: dict[str, Any]) -> list[tuple[int | str, ...]]:
    """Where the faults of a refused profile are."""
    with pytest.raises(ValidationError) as caught:
        Profile.model_validate(bad)
    return [error["loc"] for error in caught.value.errors()]


# The model


def test_a_name_is_enough() -> None:
    profile = Profile(name="mine")
    assert (profile.task, profile.model, profile.system_prompt, profile.circuit_breaker) == (
        None,
        None,
        None,
        None,
    )
    assert (profile.parameters, profile.gpu_config, profile.description) == ({}, {}, "")
    assert profile.owner == "system"
    assert profile.is_system


def test_a_profile_with_everything_survives_json() -> None:
    profile = Profile.model_validate(
        {
            "id": "6F9619FF-8B86-D011-B42D-00C04FC964FF",
            "name": "precise_coding",
            "task": "engineering",
            "description": "Cool code.",
            "model": "qwen3-coder:30b",
            "parameters": {"temperature": 0, "stop": ["</s>"], "think": False, "made_up": {"a": [1]}},
            "system_prompt": "You write code.",
            "gpu_config": {"num_ctx": 8192, "use_mmap": False, "num_gpu": -1},
            "circuit_breaker": {
                "failure_threshold": 3,
                "failure_timeout": 30,
                "timeouts": {"first_byte": 60},
            },
            "owner": "ada",
        }
    )
    assert profile.id == "6f9619ff-8b86-d011-b42d-00c04fc964ff"
    assert not profile.is_system
    assert profile.parameters["temperature"] == 0
    assert isinstance(profile.parameters["temperature"], int)
    assert Profile.model_validate_json(profile.model_dump_json()) == profile
    assert Profile.model_validate(profile.model_dump()) == profile


def test_it_is_immutable() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    profile = Profile(name="mine", circuit_breaker=breaker)
    with pytest.raises(ValidationError, match="frozen"):
        profile.name = "yours"
    with pytest.raises(ValidationError, match="frozen"):
        breaker.failure_threshold = 2


def test_the_callers_dictionary_is_not_kept() -> None:
    given: dict[str, Any] = {"temperature": 0.5}
    profile = Profile(name="mine", parameters=given)
    given["temperature"] = 2
    assert profile.parameters == {"temperature": 0.5}


def test_an_id_made_from_the_name_is_the_same_everywhere_and_for_ever() -> None:
    assert Profile(name="creative").id == default_id("creative") == "c0ab10d4-c266-51e8-b8db-dbb6fdfdfb94"
    assert uuid.UUID(Profile(name="creative").id).version == 5
    assert Profile.model_validate({"name": "creative", "id": None}).id == default_id("creative")
    assert default_id("creative") != default_id("precise")


def test_two_users_profiles_of_one_name_have_different_ids() -> None:
    ids = {default_id("mine"), default_id("mine", "ada"), default_id("mine", "bob")}
    assert len(ids) == 3
    assert Profile(name="mine", owner="ada").id == default_id("mine", "ada")


def test_the_schema_for_editors_asks_for_the_name_only() -> None:
    schema = Profile.model_json_schema()
    assert schema["required"] == ["name"]
    assert schema["properties"]["id"] == {"format": "uuid", "title": "Id", "type": "string"}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", ["a", "A9", "0", "precise_coding", "v1.2-b", "x" * 64])
def test_good_names(name: str) -> None:
    assert Profile(name=name).name == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "a b", "a@b", "a/b", "a\n", "ä", "x" * 65, 5, None])
def test_bad_names_are_the_only_fault_reported(name: Any) -> None:
    assert places({"name": name}) == [("name",)]


@pytest.mark.parametrize(
    "bad", ["", "abc", "{6f9619ff-8b86-d011-b42d-00c04fc964ff}", "6f9619ff8b86d011b42d00c04fc964ff", 7]
)
def test_an_id_must_be_a_canonical_uuid(bad: Any) -> None:
    assert places({"name": "mine", "id": bad}) == [("id",)]


def test_an_unknown_task_is_refused_with_a_hint() -> None:
    with pytest.raises(ValidationError, match=r"no task is called 'key_points'; did you mean 'key-points'"):
        Profile(name="mine", task="key_points")
    with pytest.raises(ValidationError, match=r"no task is called 'zebra' "):
        Profile(name="mine", task="zebra")


@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_task_is_accepted(task: str) -> None:
    assert Profile(name="mine", task=task).task == task


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("paramters", {}),
        ("parameters", None),
        ("parameters", []),
        ("description", None),
        ("model", ""),
        ("model", 5),
        ("system_prompt", 5),
        ("owner", ""),
        ("task", 18),
        ("circuit_breaker", 5),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    assert places({"name": "mine", field: value}) == [(field,)]


# gpu_config


@pytest.mark.parametrize(
    "config",
    [
        {"num_ctx": 4},
        {"num_batch": 1},
        {"num_gpu": -1},
        {"num_gpu": 0},
        {"main_gpu": 0},
        {"num_thread": 0},
        {"draft_num_predict": 0},
        {"use_mmap": True},
        dict.fromkeys(GPU_OPTIONS[:-1], 512) | {"use_mmap": False},
    ],
)
def test_load_time_options_are_accepted(config: dict[str, Any]) -> None:
    assert Profile(name="mine", gpu_config=config).gpu_config == config


def test_the_load_time_options_are_ollamas() -> None:
    expected = {"num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict"}
    assert set(GPU_OPTIONS) == expected


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"numctx": 8192}, "'numctx' is not a load-time option of Ollama; did you mean 'num_ctx'"),
        ({"use_mlock": True}, "'use_mlock' is not a load-time option"),
        ({"num_gpus": 1}, "did you mean 'num_gpu' or "),
        ({"temperature": 0.5}, "'temperature' is not a load-time option"),
        ({"num_ctx": "8192"}, "num_ctx must be a whole number, not '8192'"),
        ({"num_ctx": 8192.0}, "num_ctx must be a whole number"),
        ({"num_ctx": True}, "num_ctx must be a whole number"),
        ({"num_gpu": None}, "num_gpu must be a whole number"),
        ({"num_ctx": 3}, "num_ctx must be 4 or more, not 3"),
        ({"num_gpu": -2}, "num_gpu must be -1 or more"),
        ({"num_batch": 0}, "num_batch must be 1 or more"),
        ({"use_mmap": 1}, "use_mmap must be true or false, not 1"),
        ({"use_mmap": "true"}, "use_mmap must be true or false, not 'true'"),
    ],
)
def test_other_load_time_options_are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Profile(name="mine", gpu_config=config)


# circuit_breaker


def test_a_breakers_values_are_all_optional() -> None:
    assert CircuitBreaker().model_dump(exclude_none=True) == {}
    full = {
        "failure_threshold": 5,
        "failure_timeout": 30.5,
        "half_open_requests": 1,
        "timeouts": {"connect": 5, "first_byte": 300, "idle": 120, "total": 0.5},
    }
    assert CircuitBreaker.model_validate(full).model_dump() == full


@pytest.mark.parametrize(
    ("breaker", "place"),
    [
        ({"failure_threshold": 0}, "failure_threshold"),
        ({"failure_threshold": "3"}, "failure_threshold"),
        ({"failure_threshold": 2.0}, "failure_threshold"),
        ({"failure_threshold": True}, "failure_threshold"),
        ({"failure_timeout": 0}, "failure_timeout"),
        ({"failure_timeout": "30"}, "failure_timeout"),
        ({"failure_timeout": float("inf")}, "failure_timeout"),
        ({"half_open_requests": 0}, "half_open_requests"),
        ({"timeouts": {"connect": 0}}, "timeouts.connect"),
        ({"timeouts": {"first_byte": -1}}, "timeouts.first_byte"),
        ({"timeouts": {"idle": "5"}}, "timeouts.idle"),
        ({"timeouts": {"total": float("nan")}}, "timeouts.total"),
        ({"timeouts": {"read": 5}}, "timeouts.read"),
        ({"threshold": 5}, "threshold"),
    ],
)
def test_a_breakers_fault_is_named(breaker: dict[str, Any], place: str) -> None:
    assert places({"name": "mine", "circuit_breaker": breaker}) == [("circuit_breaker", *place.split("."))]


# Copies


def test_a_copy_of_a_system_profile_belongs_to_its_user() -> None:
    original = SHIPPED["engineering"]
    copy = original.copy_for("ada", "my-engineering")
    assert (copy.owner, copy.name, copy.is_system) == ("ada", "my-engineering", False)
    assert copy.id == default_id("my-engineering", "ada")
    assert (copy.task, copy.parameters, copy.system_prompt) == (
        original.task,
        original.parameters,
        original.system_prompt,
    )
    copy.parameters["temperature"] = 2.0
    assert original.parameters["temperature"] != 2.0


def test_a_copy_is_checked_too() -> None:
    with pytest.raises(ValidationError, match="name"):
        SHIPPED["engineering"].copy_for("ada", "no spaces")


# What ships


def test_every_task_has_its_profile_in_order_with_its_fixed_id() -> None:
    entries = read(TASKS_FILE)
    assert [entry["name"] for entry in entries] == list(TASK_NAMES)
    assert [entry["task"] for entry in entries] == list(TASK_NAMES)
    assert [entry["id"] for entry in entries] == [system_profile_id(number) for number in range(1, 20)]
    assert len(TASKS) == len(entries) == 19


def test_the_presets_have_no_task_and_no_system_prompt() -> None:
    entries = read(PRESETS_FILE)
    assert [entry["name"] for entry in entries] == PRESETS
    for entry in entries:
        assert SHIPPED[entry["name"]].task is None
        assert SHIPPED[entry["name"]].system_prompt is None


def test_names_and_ids_are_all_different() -> None:
    assert len(SHIPPED) == len({profile.id for profile in SHIPPED.values()}) == 19 + 7


@pytest.mark.parametrize("profile", SHIPPED.values(), ids=SHIPPED)
def test_a_shipped_profile_is_the_systems_and_fits_every_machine(profile: Profile) -> None:
    assert profile.is_system
    assert profile.description.endswith(".")
    assert (profile.model, profile.gpu_config, profile.circuit_breaker) == (None, {}, None)


@pytest.mark.parametrize("profile", SHIPPED.values(), ids=SHIPPED)
def test_shipped_values_have_known_names_the_right_type_and_fit_the_standard_form(profile: Profile) -> None:
    for name, value in profile.parameters.items():
        assert isinstance(value, TYPES[name]), f"{name}: {value!r}"
        if TYPES[name] is int:
            assert not isinstance(value, bool), name
        if name in BOUNDS:
            low, high = BOUNDS[name]
            assert low <= value <= high, f"{name}: {value!r}"


@pytest.mark.parametrize("profile", SHIPPED.values(), ids=SHIPPED)
def test_shipped_values_keep_the_four_rules(profile: Profile) -> None:
    values = profile.parameters
    temperature = values.get("temperature", 1.0)
    assert temperature > 0
    if values.get("think") is not False:
        assert temperature >= 0.5
        assert "max_tokens" not in values
    allowed = {"temperature", "top_p", "top_k", "think", "max_tokens"}
    assert set(values) <= allowed
    assert values.get("top_p") != 1.0, "a neutral value hides the model's own"


def test_only_primary_and_what_is_not_sampled_have_no_values() -> None:
    empty = {name for name, profile in SHIPPED.items() if not profile.parameters}
    assert empty == NOTHING_TO_SAMPLE | {"primary"}


def test_the_presets_differ_as_their_names_say() -> None:
    def temperature(name: str) -> Any:
        return SHIPPED[name].parameters["temperature"]

    assert temperature("precise") < temperature("balanced") < temperature("creative")
    assert temperature("precise_coding") < temperature("creative_coding") < temperature("creative")
    assert temperature("brief-summary") < temperature("primary-summary")
    assert SHIPPED["brief-summary"].parameters["max_tokens"] < SHIPPED["key-points"].parameters["max_tokens"]


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_system_prompt_speaks_to_the_model_and_is_short(task: str) -> None:
    prompt = SHIPPED[task].system_prompt
    if task in NOTHING_TO_SAMPLE:
        assert prompt is None
        return
    assert prompt is not None
    assert prompt.startswith("You ")
    assert prompt.endswith(".")
    assert len(prompt.split()) <= 70


def parameter_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Each line under a `parameters:` key, and that key's own line when empty, with the line above it."""
    inside, above = False, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("#"):
            above = line
            continue
        opens = line.strip().startswith("parameters:")
        empty = opens and line.strip() != "parameters:"
        if empty or (inside and line.startswith("      ")):
            yield line, above
        inside = opens or (inside and line.startswith("      "))
        above = line


def test_every_shipped_value_has_its_reason_beside_it() -> None:
    for path in (TASKS_FILE, PRESETS_FILE):
        seen = 0
        for line, above in parameter_lines(path):
            reason = line.partition(" # ")[2] or above.strip().removeprefix("# ")
            assert " # " in line or above.strip().startswith("# "), f"{path.name}: no reason: {line}"
            assert len(reason.split()) >= 5, f"{path.name}: too short a reason: {line}"
            seen += 1
        # The walk over lines must see what the parser sees, or it proves nothing.
        assert seen == sum(len(entry["parameters"]) or 1 for entry in read(path))


# What the page says


def documented() -> dict[str, tuple[str, dict[str, str]]]:
    """Profile name -> (first cell, values), from the rows of the page's tables."""
    rows = {}
    for line in DOC.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = (
            re.fullmatch(r"`([\w.-]+)`", cells[-4])
            if line.startswith("| ") and len(cells) in (4, 5)
            else None
        )
        if name:
            pairs = re.findall(r"`(\w+): ([^`]+)`", cells[-2])
            assert pairs or cells[-2] == "none", line
            rows[name[1]] = (cells[0], dict(pairs))
    return rows


def test_the_page_lists_the_shipped_profiles_in_order() -> None:
    rows = documented()
    assert list(rows) == [*TASK_NAMES, *PRESETS]
    assert [rows[task.name][0] for task in TASKS] == [str(task.number) for task in TASKS]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_page_gives_exactly_the_values_that_ship(name: str) -> None:
    shipped = {key: json.dumps(value) for key, value in SHIPPED[name].parameters.items()}
    assert documented()[name][1] == shipped


def test_the_pages_example_is_valid_and_every_field_is_described() -> None:
    text = DOC.read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    for entry in yaml.safe_load(example[1])["profiles"]:
        assert Profile.model_validate(entry).name == "team-review"
    for field in Profile.model_fields:
        assert f"\n| `{field}` |" in text
    for option in GPU_OPTIONS:
        assert f"`{option}`" in text
