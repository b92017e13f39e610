from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.parameters.experiments import Experiment, Variant, assign


def experiment(name: str = "cooler-code", **weights: float) -> Experiment:
    variants = [{"name": variant, "weight": weight} for variant, weight in weights.items()]
    return Experiment.model_validate({"name": name, "variants": variants})


def shares(of: Experiment, units: int = 4000) -> dict[str, float]:
    counts = Counter(assign(of, f"session-{n}").name for n in range(units))
    return {variant.name: counts[variant.name] / units for variant in of.variants}


experiments = st.builds(
    lambda name, weights: experiment(name, **{f"v{n}": weight for n, weight in enumerate(weights)}),
    st.from_regex(r"\A[a-z][a-z0-9-]{0,20}\Z"),
    st.lists(
        st.integers(1, 10**9) | st.floats(0, 1e9, exclude_min=True, allow_subnormal=True),
        min_size=1,
        max_size=6,
    ),
)


def test_the_documented_form_is_accepted() -> None:
    made = Experiment.model_validate(
        {
            "name": "cooler-code",
            "match": {"task": "engineering"},
            "unit": "session",
            "variants": [
                {"name": "a", "weight": 50},
                {"name": "b", "weight": 50, "parameters": {"temperature": 0.2}},
            ],
        }
    )
    assert made.match == {"task": "engineering"}
    assert made.enabled is True
    assert [variant.parameters for variant in made.variants] == [{}, {"temperature": 0.2}]
    assert [variant.weight for variant in made.variants] == [50, 50]


def test_what_is_left_out_means_everyone_by_session() -> None:
    made = experiment(a=1)
    assert (made.unit, made.enabled, made.match) == ("session", True, {})


def test_json_and_python_read_the_same() -> None:
    text = '{"name": "e", "unit": "user", "variants": [{"name": "a", "weight": 0.5}]}'
    made = Experiment.model_validate_json(text)
    assert made == Experiment.model_validate(
        {"name": "e", "unit": "user", "variants": [{"name": "a", "weight": 0.5}]}
    )
    assert Experiment.model_validate_json(made.model_dump_json()) == made
    assert Experiment.model_validate(made.model_dump()) == made


@pytest.mark.parametrize(
    "weight", [0, -1, 0.0, -0.5, "50", True, None, float("inf"), float("nan"), 10**9 + 1, 1e300]
)
def test_a_weight_is_a_positive_finite_number(weight: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Variant.model_validate({"name": "a", "weight": weight})
    assert {error["loc"][0] for error in caught.value.errors()} == {"weight"}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"variants": []}, "variants"),
        ({"variants": [{"name": "a", "weight": 1}, {"name": "a", "weight": 2}]}, "variants"),
        ({"unit": "day"}, "unit"),
        ({"enabled": "yes"}, "enabled"),
        ({"name": ""}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "a\n"}, "name"),
        ({"wieght": 1}, "wieght"),
        ({"variants": [{"name": "a", "weight": 1, "model": "x"}]}, "variants.0.model"),
        ({"variants": [{"weight": 1}]}, "variants.0.name"),
    ],
)
def test_a_fault_is_named(change: dict[str, Any], place: str) -> None:
    good = {"name": "e", "variants": [{"name": "a", "weight": 1}]}
    assert Experiment.model_validate(good)
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate(good | change)
    assert [".".join(map(str, error["loc"])) for error in caught.value.errors()] == [place]


def test_variants_of_one_name_are_named() -> None:
    twice = [{"name": name, "weight": 1} for name in "abca"]
    with pytest.raises(ValidationError, match="used more than once: a "):
        Experiment.model_validate({"name": "e", "variants": twice})


def test_the_schema_for_editors_asks_for_a_variant() -> None:
    schema = Experiment.model_json_schema()
    assert schema["required"] == ["name", "variants"]
    assert schema["properties"]["variants"]["minItems"] == 1


def test_it_is_immutable() -> None:
    made = experiment(a=1)
    with pytest.raises(ValidationError, match="frozen"):
        made.enabled = False
    with pytest.raises(ValidationError, match="frozen"):
        made.variants[0].weight = 2


def test_the_assignment_is_pinned_down() -> None:
    """A release that deals the units anew would spoil experiments that are under way."""
    dealt = "".join(assign(experiment(a=50, b=50), f"session-{n}").name for n in range(24))
    assert dealt == "bbbbbbbbbabbaabbaaaaaaaa"
    dealt = "".join(assign(experiment("other", a=1, b=2, c=1), f"session-{n}").name for n in range(24))
    assert dealt == "ccacababbccabbbbbbbbbbbc"


def test_the_hash_is_sha256_over_name_nul_key() -> None:
    for n in range(50):
        upper_half = hashlib.sha256(f"e\0user-{n}".encode()).digest()[0] >= 0x80
        assert assign(experiment("e", a=1, b=1), f"user-{n}").name == ("b" if upper_half else "a")


@given(experiments, st.text(max_size=50))
def test_it_is_stable_and_one_of_the_variants(made: Experiment, key: str) -> None:
    again = Experiment.model_validate_json(made.model_dump_json())
    assert assign(made, key) == assign(again, key)
    assert assign(made, key) in made.variants


def test_the_shares_come_near_the_weights() -> None:
    assert shares(experiment(a=50, b=50)) == pytest.approx({"a": 0.5, "b": 0.5}, abs=0.03)
    assert shares(experiment(a=90, b=9, c=1)) == pytest.approx({"a": 0.9, "b": 0.09, "c": 0.01}, abs=0.02)
    assert shares(experiment(a=0.1, b=0.3)) == pytest.approx({"a": 0.25, "b": 0.75}, abs=0.03)


def test_only_the_proportion_of_the_weights_counts() -> None:
    small, large = experiment(a=1, b=3), experiment(a=100, b=300)
    for n in range(500):
        assert assign(small, f"user-{n}").name == assign(large, f"user-{n}").name


def test_a_single_variant_takes_everyone() -> None:
    assert shares(experiment(a=0.001), units=200) == {"a": 1.0}


def test_experiments_are_dealt_independently() -> None:
    """Knowing someone's variant in one experiment says nothing about another."""
    first, second = experiment("first", a=1, b=1), experiment("second", a=1, b=1)
    pairs = Counter((assign(first, f"u{n}").name, assign(second, f"u{n}").name) for n in range(4000))
    assert len(pairs) == 4
    for count in pairs.values():
        assert count / 4000 == pytest.approx(0.25, abs=0.03)


def test_name_and_key_are_kept_apart() -> None:
    """`ab` + `c` must not be dealt like `a` + `bc`."""
    left = [assign(experiment("ab", a=1, b=1), f"c{n}").name for n in range(64)]
    right = [assign(experiment("a", a=1, b=1), f"bc{n}").name for n in range(64)]
    assert left != right


def test_match_unit_and_parameters_do_not_move_anybody() -> None:
    plain = experiment(a=1, b=1)
    dressed = plain.model_copy(
        update={
            "match": {"model": ["qwen3*"]},
            "unit": "user",
            "variants": tuple(v.model_copy(update={"parameters": {"top_k": 5}}) for v in plain.variants),
        }
    )
    for n in range(200):
        assert assign(plain, str(n)).name == assign(dressed, str(n)).name


@given(st.integers(1, 100), st.integers(1, 100), st.integers(1, 100), st.text(max_size=30))
def test_weights_move_units_between_neighbours_only(first: int, second: int, more: int, key: str) -> None:
    """The first variant's growing share takes units over, and gives none away."""
    before = assign(experiment(a=first, b=second), key).name
    after = assign(experiment(a=first + more, b=second), key).name
    assert (before, after) in {("a", "a"), ("b", "b"), ("b", "a")}


def test_any_text_can_be_a_key() -> None:
    for key in ("", "\0", "\udcff", "ü" * 1000):
        assert assign(experiment(a=1, b=1), key).name in {"a", "b"}


def fix_hash(monkeypatch: pytest.MonkeyPatch, digest: bytes) -> None:
    class Hash:
        def __init__(self, _: bytes) -> None: ...

        def digest(self) -> bytes:
            return digest

    monkeypatch.setattr("proxy.parameters.experiments.hashlib.sha256", Hash)


@pytest.mark.parametrize(("digest", "taken"), [(b"\xff" * 32, "b"), (b"\0" * 32, "a")])
def test_the_ends_of_the_line_belong_to_the_outer_variants(
    digest: bytes, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix_hash(monkeypatch, digest)
    for scale in (5e-324, 1e-300, 0.1, 1, 3, 7.7, 1e8):
        assert assign(experiment(a=scale, b=scale * 2), "any").name == taken


def test_a_border_belongs_to_the_variant_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fix_hash(monkeypatch, b"\x80" + b"\0" * 31)
    assert assign(experiment(a=1, b=1), "any").name == "b"
