"""Everything dynamic in one immutable value: what replaces what, and what keeps files from being used."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from proxy.errors import ConfigurationError
from proxy.parameters.profiles import default_id
from proxy.parameters.tasks import TASKS, system_profile_id
from proxy.rules.match import Facts, walk
from proxy.rules.parse import parse
from proxy.snapshot import Snapshot, build, faults, sources
from tests.rules.files import CONTRACT, lines, parsed, shipped


def made(*texts: str, builtin: int = 0) -> Snapshot:
    """A snapshot of texts, the first `builtin` of which ship with Attune."""
    return build([parsed(text, f"f{n}", builtin=n < builtin) for n, text in enumerate(texts)])


def test_no_files_make_an_empty_snapshot() -> None:
    empty = build([])
    assert (empty.upstreams, empty.rules, empty.experiments, empty.headers, empty.sources) == (
        (),
        (),
        (),
        (),
        (),
    )
    assert (dict(empty.profiles), dict(empty.task_profiles), empty.families.find("llama3")) == ({}, {}, None)
    assert len(empty.tasks) == 19
    assert len(empty.hash) == 64


def test_the_contract_s_example() -> None:
    snapshot = build([*shipped(), parsed(CONTRACT)])
    assert [u.name for u in snapshot.upstreams] == ["gpu-a"]
    assert [r.name for r, _ in snapshot.rules] == ["coding-stays-cool"]
    assert [e.name for e, _ in snapshot.experiments] == ["cooler-code"]
    assert snapshot.headers == ("user-agent",)
    assert snapshot.task_profiles["engineering"].name == "precise_coding"
    family = snapshot.families.find("llama3:8b")
    assert family is not None
    assert (family.name, family.builtin) == ("llama-3", False)


def test_every_task_has_its_shipped_profile() -> None:
    snapshot = build(shipped())
    for task in TASKS:
        profile = snapshot.task_profiles[task.name]
        assert profile.id == system_profile_id(task.number)
        assert snapshot.profiles_by_id[profile.id] is profile
        assert snapshot.profiles[profile.name] is profile
    assert {"creative", "precise", "balanced", "explanation"} <= set(snapshot.profiles)
    assert all(family.builtin for family in snapshot.families.families)


def test_a_snapshot_cannot_be_changed() -> None:
    snapshot = made(CONTRACT)
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.hash = "x"  # type: ignore[misc]
    changeable: Any = snapshot.profiles
    with pytest.raises(TypeError):
        changeable["x"] = 1


def test_the_hash_is_that_of_the_contents_in_order() -> None:
    a, b = "rules: [{name: a}]", "rules: [{name: b}]"
    one = build([parsed(a, "here"), parsed(b, "there")])
    assert one.hash == build([parsed(a, "elsewhere"), parsed(b, "far away")]).hash
    assert one.hash != made(b, a).hash
    assert one.hash != made(a).hash
    assert made(a + "\n").hash != made(a).hash
    # two files are not one file that holds both
    assert made("", "# x").hash != made("# x", "").hash


def test_disabled_rules_and_experiments_are_left_out() -> None:
    text = """\
    rules:
      - {name: a, enabled: false, match: {headers: {X-Off: a}}}
      - {name: b, match: {headers: {X-On: a}}}
    experiments:
      - {name: e, enabled: false, match: {headers: {X-Never: a}}, variants: [{name: v, weight: 1}]}
      - {name: f, match: {headers: {X-Also: a, x-on: b}}, variants: [{name: v, weight: 1}]}
    """
    snapshot = made(text)
    assert [r.name for r, _ in snapshot.rules] == ["b"]
    assert [e.name for e, _ in snapshot.experiments] == ["f"]
    assert snapshot.headers == ("x-also", "x-on")


def test_rules_are_compiled_in_file_order() -> None:
    snapshot = made("rules: [{name: z}, {name: b, match: {model: 'q*'}}]", "rules: [{name: a}]")
    assert [r.name for r in walk(snapshot.rules, Facts(model="llama"), fixed_task=False).rules] == ["z", "a"]
    [experiment] = made(
        "experiments: [{name: e, match: {task: analysis}, variants: [{name: v, weight: 1}]}]"
    ).experiments
    assert experiment[1].holds(Facts(model="m", task="analysis"))
    assert not experiment[1].holds(Facts(model="m"))


def test_tasks_that_rules_set_are_known() -> None:
    assert "triage" in made("rules: [{name: a, task: triage}]").tasks


def test_a_later_family_replaces_a_built_in_one() -> None:
    old = "families: [{name: f, match: 'old*', context: 1}, {name: g, match: 'g*'}]"
    snapshot = made(old, "families: [{name: f, match: 'new*', context: 2}]", builtin=1)
    assert snapshot.families.find("old-model") is None
    found = snapshot.families.find("new-model")
    assert found is not None
    assert (found.context, found.builtin) == (2, False)
    kept = snapshot.families.find("g1")
    assert kept is not None
    assert kept.builtin


def test_one_s_own_families_win_over_built_in_ones() -> None:
    snapshot = made(
        "families: [{name: exact, match: llama3}]", "families: [{name: mine, match: 'l*'}]", builtin=1
    )
    found = snapshot.families.find("llama3")
    assert found is not None
    assert found.name == "mine"


SHIPPED = """\
profiles:
  - {id: 00000000-0000-0000-0000-000000000001, name: primary, task: primary, parameters: {seed: 1}}
  - {id: 00000000-0000-0000-0000-0000000000ff, name: plain}
"""


KEPT = "00000000-0000-0000-0000-0000000000ff"


def test_a_replaced_preset_keeps_its_id_and_may_have_a_task() -> None:
    snapshot = made(SHIPPED, "profiles: [{name: plain, task: primary, parameters: {seed: 2}}]", builtin=1)
    profile = snapshot.profiles["plain"]
    assert profile.parameters == {"seed": 2}
    assert profile.id == KEPT
    assert snapshot.profiles_by_id[profile.id] is profile
    assert snapshot.task_profiles["primary"] is profile


def test_a_replaced_preset_may_have_an_id_of_its_own() -> None:
    mine = "11111111-1111-1111-1111-111111111111"
    snapshot = made(SHIPPED, f"profiles: [{{name: plain, id: {mine}}}]", builtin=1)
    assert snapshot.profiles["plain"].id == mine
    assert KEPT not in snapshot.profiles_by_id


def test_a_user_s_profile_does_not_take_the_id_of_everybody_s() -> None:
    snapshot = made(SHIPPED, "profiles: [{name: plain, owner: ann}]", builtin=1)
    assert snapshot.profiles["plain"].id == default_id("plain", "ann")


def test_the_system_profile_of_a_task_can_not_be_changed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        made(SHIPPED, "profiles: [{name: primary, parameters: {seed: 2}}]", builtin=1)
    assert str(caught.value) == (
        "f1:1: profile 'primary' is the system profile of its task and can't be changed: give yours another "
        "name and say task: primary"
    )


def test_a_profile_takes_the_task_over_under_another_name() -> None:
    snapshot = made(SHIPPED, "profiles: [{name: mine, task: primary}]", builtin=1)
    assert snapshot.task_profiles["primary"].name == "mine"
    assert snapshot.profiles["primary"].parameters == {"seed": 1}
    later = made(
        SHIPPED,
        "profiles: [{name: mine, task: primary}]",
        "profiles: [{name: last, task: primary}]",
        builtin=1,
    )
    assert later.task_profiles["primary"].name == "last"


def test_a_redefined_profile_beats_a_shipped_one_that_comes_later() -> None:
    first = parsed("profiles: [{name: mine, task: primary}]", "mine")
    snapshot = build([first, parsed(SHIPPED, "shipped", builtin=True)])
    assert snapshot.task_profiles["primary"].name == "mine"


def test_a_user_s_profile_is_nobody_else_s_task_profile() -> None:
    snapshot = made(SHIPPED, "profiles: [{name: mine, task: primary, owner: ann}]", builtin=1)
    assert snapshot.task_profiles["primary"].name == "primary"
    assert snapshot.profiles["mine"].owner == "ann"


def test_all_faults_are_told_at_once() -> None:
    bad = [
        parse("rules: [{name: a, foo: 1}]\nbar: 1", "one"),
        parse("a: [", "two"),
        parsed("rules: [{name: x}, {name: x}]", "three"),
    ]
    with pytest.raises(ConfigurationError) as caught:
        build(bad)
    told = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in told] == ["one:1", "one:2", "two:2", "three:1"]
    assert told == lines(faults(bad))


def test_missing_references_are_faults() -> None:
    with pytest.raises(ConfigurationError, match=r"^f0:1: rule 'a': no profile is called 'p'$"):
        made("rules: [{name: a, profile: p}]")


def test_sources_say_where_everything_lies() -> None:
    files = [parsed(SHIPPED, "shipped", builtin=True), parsed("", "empty")]
    assert build(files).sources == sources(files)
    assert [(s.path, s.builtin, s.faults) for s in sources(files)] == [
        ("shipped", True, ()),
        ("empty", False, ()),
    ]
    assert sources(files)[1].hash == hashlib.sha256(b"").hexdigest()
    assert sources([parse("a: [", "f")])[0].faults == tuple(lines(parse("a: [", "f").faults))
