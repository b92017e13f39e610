"""Files checked against each other: names used twice, names that aren't there, addresses, and warnings."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.rules.check import address_fault, cross_check, warnings
from proxy.rules.parse import parse
from tests.rules.files import CONTRACT, lines, parsed, shipped


def faults(*texts: str) -> list[str]:
    """The faults of files 1, 2, ..."""
    return lines(cross_check([parsed(text, f"{n}") for n, text in enumerate(texts, 1)]))


def test_the_contract_s_example_has_neither_faults_nor_warnings() -> None:
    files = [*shipped(), parsed(CONTRACT)]
    assert lines(cross_check(files)) == []
    assert lines(warnings(files)) == []


def test_the_shipped_files_have_neither() -> None:
    assert lines(cross_check(shipped())) == []
    assert lines(warnings(shipped())) == []


def test_no_files_are_fine() -> None:
    assert cross_check([]) == warnings([]) == []


@pytest.mark.parametrize(
    ("section", "item", "entry"),
    [
        ("upstreams", "upstream", "{name: x, url: 'http://a'}"),
        ("families", "family", "{name: x, match: a}"),
        ("profiles", "profile", "{name: x}"),
        ("rules", "rule", "{name: x, stop: true}"),
        ("experiments", "experiment", "{name: x, variants: [{name: a, weight: 1}]}"),
    ],
)
def test_a_name_is_used_once(section: str, item: str, entry: str) -> None:
    once = f"{section}:\n  - {entry}\n"
    assert faults(once, f"\n{once}") == [f"2:3: {item} 'x' is already there: 1:2"]
    assert faults(f"{once}  - {entry}\n") == [f"1:3: {item} 'x' is already there: 1:2"]
    assert faults(once, once.replace("name: x", "name: X")) == []


@pytest.mark.parametrize(
    ("section", "entry"), [("families", "{name: x, match: a}"), ("profiles", "{name: x}")]
)
def test_built_in_families_and_profiles_may_be_defined_anew_once(section: str, entry: str) -> None:
    text = f"{section}: [{entry}]"
    builtin, mine, again = parsed(text, "b", builtin=True), parsed(text, "m"), parsed(text, "a")
    assert lines(cross_check([builtin, mine])) == []
    assert [f.split(": ", 1)[0] for f in lines(cross_check([builtin, mine, again]))] == ["a:1"]
    assert len(cross_check([builtin, parsed(text, "c", builtin=True)])) == 1


def test_built_in_rules_may_not() -> None:
    text = "rules: [{name: x, stop: true}]"
    assert len(cross_check([parsed(text, "b", builtin=True), parsed(text, "m")])) == 1


def test_two_profiles_with_one_id() -> None:
    same = "id: 11111111-1111-1111-1111-111111111111"
    assert faults(f"profiles: [{{name: a, {same}}}]", f"profiles:\n  - name: b\n    {same}\n") == [
        "2:3: profile 'b' has the id of profile 'a' (1:1)"
    ]
    assert faults(f"profiles: [{{name: a, {same}}}, {{name: b}}]") == []


def test_profiles_that_rules_name() -> None:
    text = "rules:\n  - name: r\n    profile: balance\n"
    assert faults("profiles: [{name: balanced}]", text) == [
        "2:3: rule 'r': no profile is called 'balance'; did you mean 'balanced'?"
    ]
    assert faults(text, "profiles: [{name: balance}]") == []
    assert faults("rules: [{name: r, enabled: false, profile: nope}]") == [
        "1:1: rule 'r': no profile is called 'nope'"
    ]


def test_upstreams_that_rules_name() -> None:
    rule = "rules:\n  - name: r\n    route:\n      upstream:\n        - gpu-a\n        - {}\n"
    some = "upstreams: [{name: gpu-a, url: 'http://a'}, {name: gpu-b, url: 'http://b'}]"
    assert faults(some, rule.format("gpu-c")) == [
        "2:6: rule 'r': no upstream is called 'gpu-c'; did you mean 'gpu-b' or 'gpu-a'?"
    ]
    assert faults(some, rule.format('"gpu-*"')) == []
    # without any, they come from the command line
    assert faults(rule.format("gpu-c")) == []


def test_what_a_broken_file_may_hold_is_not_missed() -> None:
    rule = parsed("rules: [{name: r, profile: p}, {name: r}]", "good")
    broken = parse("profiles: [{name: p, foo: 1}]", "broken")
    assert lines(cross_check([rule, broken])) == ["good:1: rule 'r' is already there: good:1"]


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:11434", "https://a.example/v1", "http://[::1]:8000/", "http://host", "HTTP://HOST:1", "http://a/b/c"],
)  # fmt: skip
def test_addresses(url: str) -> None:
    assert address_fault(url) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with http:// or https://"),
        ("localhost:11434", "must begin with http:// or https://"),
        ("ftp://a", "must begin with http:// or https://"),
        ("//a", "must begin with http:// or https://"),
        ("http://", "names no host"),
        ("http:///v1", "names no host"),
        ("http://:80", "names no host"),
        ("http://user:secret@a", "must not hold a user or password; use api_key_env"),
        ("http://@a", "must not hold a user or password; use api_key_env"),
        ("http://a?key=secret", "must not hold a query or fragment"),
        ("http://a/?", "must not hold a query or fragment"),
        ("http://a#x", "must not hold a query or fragment"),
        ("http://a b", "holds white space or control characters"),
        (" http://a", "holds white space or control characters"),
        ("http://a\n", "holds white space or control characters"),
        ("http://a:0", "has port 0"),
        ("http://a:99999", "is not an address: Port out of range 0-65535"),
        ("http://[::1", "is not an address"),
    ],
)
def test_what_is_no_address(url: str, words: str) -> None:
    assert address_fault(url) == words


def test_an_address_is_reported_with_its_line_and_without_itself() -> None:
    text = "upstreams:\n  - name: a\n    url: http://me:secret@a\n"
    assert faults(text) == ["1:3: url of upstream 'a' must not hold a user or password; use api_key_env"]


def test_warnings_come_in_the_order_of_files_and_lines() -> None:
    one = "rules:\n  - {name: a, set: {seed: 1}}\n  - {name: b}\n"
    two = "rules:\n  - {name: c, set: {seed: 2}}\n  - {name: d, match: {task: foo}, stop: true}\n"
    found = lines(warnings([parsed(one, "z"), parsed(two, "a")]))
    assert [words.split(": ")[0] for words in found] == ["z:3", "a:2", "a:3"]


def test_two_profiles_for_one_task() -> None:
    found = warnings(
        [
            parsed("profiles: [{name: a, task: analysis}]", "1"),
            parsed("profiles: [{name: b, task: analysis}]", "2"),
        ]
    )
    assert lines(found) == ["2:1: profile 'b' takes task 'analysis' over from profile 'a' (1)"]


@pytest.mark.parametrize("second", ["name: b, task: primary", "name: b, task: analysis, owner: ann"])
def test_profiles_that_share_no_task(second: str) -> None:
    assert warnings([parsed(f"profiles: [{{name: a, task: analysis}}, {{{second}}}]")]) == []


def test_built_in_profiles_lose_their_task_without_a_word() -> None:
    builtin = parsed("profiles: [{name: a, task: analysis}]", "1", builtin=True)
    assert warnings([builtin, parsed("profiles: [{name: b, task: analysis}]", "2")]) == []


def test_broken_files_are_passed_over() -> None:
    assert warnings([parse("a: [", "f")]) == cross_check([parse("a: [", "f")]) == []


MANY: dict[str, Callable[[int], str]] = {
    "each for its own model": lambda n: (
        f"match: {{model: 'm{n}*', task: engineering}}, set: {{temperature: 0.{n % 10}}}"
    ),
    "all for everything": lambda n: (
        f"set: {{temperature: {n / 10000}, top_p: 0.5}}, clamp: {{max_tokens: {{max: {n}}}}}"
    ),
    "globs that all meet": lambda n: (
        f"match: {{user: '*x{n}*'}}, set: {{seed: 1}}, stop: {str(n % 2 == 0).lower()}"
    ),
    "each for its own header": lambda n: (
        f"match: {{headers: {{h{n}: x}}}}, set: {{seed: 1}}, profile: p{n % 7}"
    ),
}


@pytest.mark.parametrize("kind", MANY)
def test_ten_thousand_rules_are_checked(kind: str) -> None:
    # pair by pair these would be fifty million comparisons, which no test run would wait for
    profiles = "profiles: [" + ", ".join(f"{{name: p{n}}}" for n in range(7)) + "]\n"
    text = profiles + "rules:\n" + "".join(f"  - {{name: r{n}, {MANY[kind](n)}}}\n" for n in range(10_000))
    files = [parsed(text)]
    assert cross_check(files) == []
    assert all(str(w).startswith("r.yaml:") for w in warnings(files))


def test_when_not_all_pairs_were_compared_it_is_said() -> None:
    text = "rules:\n" + "".join(
        f"  - {{name: r{n}, match: {{user: '*x{n}*'}}, set: {{seed: 1}}}}\n" for n in range(1000)
    )
    assert lines(warnings([parsed(text)])) == [
        "r.yaml:1: so many rules overlap that not all pairs were compared; there may be more contradictions"
    ]


def test_looking_for_near_names_has_an_end() -> None:
    profiles = "profiles: [" + ", ".join(f"{{name: profile-{n}}}" for n in range(2000)) + "]\n"
    text = profiles + "rules:\n" + "".join(f"  - {{name: r{n}, profile: profil-{n}}}\n" for n in range(2000))
    assert len(cross_check([parsed(text)])) == 2000
