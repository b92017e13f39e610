"""YAML into plain objects: values as in JSON, lines, limits."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.errors import RuleFault
from proxy.rules import document
from proxy.rules.document import DEPTH, SIZE, Lines, read

# other work on the machine is no fault of the code
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]

either = pytest.mark.parametrize("loader", LOADERS, ids=lambda loader: loader.__name__)


def value(text: str) -> Any:
    found = read(text, "f")
    assert found.faults == ()
    return found.value


def noted(text: str, loader: Any = None) -> list[str]:
    return [str(f) for f in read(text, "f", loader=loader).faults]


def refused(text: str, loader: Any = None) -> str:
    with pytest.raises(RuleFault) as caught:
        read(text, "f", loader=loader)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True), ("True", True), ("FALSE", False),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("tRue", "tRue"),
        ("null", None), ("~", None), ("", None), ("NULL", None), ("none", "none"),
        ("1", 1), ("-1", -1), ("+1", 1), ("0", 0), ("010", 10), ("0o17", 15), ("0xff", 255),
        ("1_000", "1_000"), ("1:30", "1:30"), ("0b11", "0b11"),
        ("1.0", 1.0), ("1e-3", 0.001), ("1E5", 100000.0), ("1.", 1.0), (".5", 0.5), ("-.5e1", -5.0),
        (".", "."), ("+", "+"), ("1e", "1e"), ("1.2.3", "1.2.3"), ("...x", "...x"),
        ("2026-05-01", "2026-05-01"), ("2026-05-01 10:00:00", "2026-05-01 10:00:00"),
        ("'1'", "1"), ('"true"', "true"), ("!!str 1", "1"), ("|\n  true\n", "true\n"),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)),
        ("=", "="), ("<<", "<<"), ("٣", "٣"),
    ],
)  # fmt: skip
@either
def test_scalars_are_what_they_are_in_json(text: str, expected: Any, loader: Any) -> None:
    found = read(f"a: {text}", "f", loader=loader)
    assert found.faults == ()
    assert found.value == {"a": expected}
    assert type(found.value["a"]) is type(expected)


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "9" * 30, "9" * 5000, "1." + "1" * 5000])
def test_a_number_that_json_cannot_hold_is_a_fault(text: str) -> None:
    [fault] = noted(f"x: 1\na: {text}")
    assert fault.startswith("f:2: ")
    assert "no number that can be sent" in fault
    assert len(fault) < 150


@either
def test_collections_and_lines(loader: Any) -> None:
    text = "a:\n  b: [1,\n    2]\n  c:\n    - x: 1\n      y: 2\n    - z\n"
    found = read(text, "f", loader=loader)
    assert found.value == {"a": {"b": [1, 2], "c": [{"x": 1, "y": 2}, "z"]}}
    expected = {
        (): 1, ("a",): 1, ("a", "b"): 2, ("a", "b", 0): 2, ("a", "b", 1): 3, ("a", "c"): 4,
        ("a", "c", 0): 5, ("a", "c", 0, "y"): 6, ("a", "c", 1): 7,
    }  # fmt: skip
    assert {path: found.lines.at(path) for path in expected} == expected


def test_lines_of_what_is_not_there_are_those_of_what_is_around_it() -> None:
    lines = read("a:\n  b: 1\n", "f").lines
    assert lines.at(("a", "zzz", "b")) == 1
    assert lines.at(("a", "b", 0, "x")) == 2
    assert Lines(7).at(("x",)) == 7


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "--- \n...\n", "\ufeff"])
def test_nothing_is_none(text: str) -> None:
    assert value(text) is None


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert value("\ufeffa: 1") == {"a": 1}


@either
def test_duplicate_keys_are_reported_with_both_lines_and_the_first_counts(loader: Any) -> None:
    text = "a: 1\nb: 2\na: 3\na: 4\n"
    assert noted(text, loader) == [
        "f:3: duplicate key 'a', first on line 1",
        "f:4: duplicate key 'a', first on line 1",
    ]
    assert read(text, "f").value == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5: x", 'a key has to be text; write "5"'),
        ("true: x", 'a key has to be text; write "true"'),
        ("1.5: x", 'a key has to be text; write "1.5"'),
        ("~: x", "a key has to be text"),
        ("[a]: x", "a key has to be text"),
        ("? {a: 1}\n: x", "a key has to be text"),
        ("<<: {a: 1}", "rule files have no merge keys (<<): write the keys out"),
        ("a: !!python/object x", "tag:yaml.org,2002:python/object is a tag; rule files have none"),
        ("a: !mine {b: 1}", "!mine is a tag; rule files have none"),
        ("a: !!int '5'", "tag:yaml.org,2002:int is a tag; rule files have none"),
    ],
)
@either
def test_what_json_does_not_have_is_a_fault(text: str, words: str, loader: Any) -> None:
    assert noted(f"first: 1\n{text}", loader) == [f"f:2: {words}"]


@either
def test_keys_that_are_dropped_leave_the_others(loader: Any) -> None:
    assert read("5: x\na: 1\n? [q]\n: [1, {b: 2}]\nc: 3", "f", loader=loader).value == {"a": 1, "c": 3}


@either
def test_aliases_stand_for_their_anchors(loader: Any) -> None:
    found = read("a: &x {k: [1, 2]}\nb: *x\nc:\n  - *x\n", "f", loader=loader)
    assert found.value == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}, "c": [{"k": [1, 2]}]}
    assert found.lines.at(("b", "k", 0)) == 2
    assert found.lines.at(("c", 0, "k")) == 4


@pytest.mark.parametrize("text", ["a: *x", "a: &x [*x]", "a: &x {b: {c: *x}}", "a: *x\nb: &x 1"])
@either
def test_an_alias_without_an_anchor_before_it_is_a_fault(text: str, loader: Any) -> None:
    assert refused(text, loader) == "f:1: *x stands for nothing: &x has to come before it"


@either
def test_a_bomb_is_refused_quickly(loader: Any) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 40))
    started = time.monotonic()
    assert "values, counting those behind aliases" in refused(bomb, loader)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
@either
def test_deep_nesting_is_refused_quickly(opening: str, loader: Any) -> None:
    started = time.monotonic()
    assert refused(opening * 100_000, loader) == f"f:1: nested more than {DEPTH} levels deep"
    assert time.monotonic() - started < 2


def test_as_deep_as_allowed() -> None:
    assert value("[" * DEPTH + "]" * DEPTH) is not None


@either
def test_a_second_document_is_refused(loader: Any) -> None:
    assert (
        refused("a: 1\n---\nb: 2\n", loader) == "f:2: a second document: put everything under one set of keys"
    )
    assert read("---\na: 1\n...\n", "f", loader=loader).value == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1,\n", 2),
        ("a: b: c", 1),
        ("a: 1\n\tb: 2", 2),
        ("a: 'x\n", 2),
        ("- a\nb: 1", 2),
        ("a: %x", 1),
        ("x: @y", 1),
    ],
)
@either
def test_syntax_errors_have_a_line(text: str, line: int, loader: Any) -> None:
    # where the end of the file is the error, libyaml and PyYAML differ by the line end
    found = refused(text, loader)
    assert found.startswith(("f:1: not YAML: ", f"f:{line}: not YAML: "))


@pytest.mark.parametrize("character", ["\0", "\x07", "\x7f", "\ud800", "\ufffe"])
@either
def test_characters_that_yaml_does_not_allow(character: str, loader: Any) -> None:
    assert refused(f"a: 1\nb: ü{character}", loader).startswith(
        "f:2: a character that YAML doesn't allow: '\\"
    )


def test_too_long_a_text_is_not_even_read() -> None:
    assert refused("x" * (SIZE + 1)) == "f:1: longer than 4 MiB"
    # characters are not bytes
    assert refused("# " + "ü" * (SIZE // 2)) == "f:1: longer than 4 MiB"
    assert value("# " + "u" * (SIZE - 2)) is None


def test_without_libyaml_the_slower_reader_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "LOADER", yaml.SafeLoader)
    assert value("a: [1, true]") == {"a": [1, True]}


# what YAML folds or refuses raw is left out of the texts
json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Cf", "Co", "Zl", "Zp"]), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz_-1", max_size=5), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@relaxed
@given(json_like, st.sampled_from(LOADERS))
def test_json_means_the_same_here(data: Any, loader: Any) -> None:
    found = read(json.dumps(data, ensure_ascii=False), "f", loader=loader)
    assert found.faults == ()
    assert json.dumps(found.value) == json.dumps(data)
