from __future__ import annotations

from typing import Any

import pytest

from proxy.parameters.catalog import (
    CANONICAL,
    CATALOG,
    INT32,
    INT64,
    UNLIMITED_BELOW_ZERO,
    Parameter,
    Range,
)
from proxy.parameters.values import check

NAMED_IN_THE_CONTRACT = (
    "top_k min_p typical_p repeat_penalty repetition_penalty repeat_last_n presence_penalty frequency_penalty "
    "mirostat mirostat_tau mirostat_eta tfs_z seed stop num_ctx num_predict max_tokens num_keep num_batch num_gpu "
    "main_gpu num_thread use_mmap keep_alive think min_tokens temperature top_p"
).split()

ENTRIES = pytest.mark.parametrize("p", CATALOG.values(), ids=lambda p: p.name)


@pytest.mark.parametrize(
    ("name", "kind", "low", "high", "default"),
    [
        ("temperature", "float", 0.0, 2.0, 0.7),
        ("max_tokens", "int", 128, 8192, 2048),
        ("top_p", "float", 0.0, 1.0, 0.9),
        ("top_k", "int", 1, 100, 40),
        ("repeat_penalty", "float", 1.0, 2.0, 1.1),
    ],
)
def test_the_standard_set(name: str, kind: str, low: float, high: float, default: float) -> None:
    p = CATALOG[name]
    assert (p.type, p.form, p.default, p.advanced) == (kind, Range(low, high), default, False)


def test_only_the_standard_set_comes_first_and_is_not_advanced() -> None:
    plain = [name for name, p in CATALOG.items() if not p.advanced]
    assert plain == list(CATALOG)[:5]


@pytest.mark.parametrize("name", NAMED_IN_THE_CONTRACT)
def test_every_promised_name_is_known(name: str) -> None:
    assert CANONICAL[name] in CATALOG


def test_no_spelling_means_two_parameters() -> None:
    spellings = [s for p in CATALOG.values() for s in p.spellings]
    assert len(spellings) == len(set(spellings)) == len(CANONICAL)
    assert all(s in CATALOG[CANONICAL[s]].spellings for s in spellings)


def test_names_are_attunes_own() -> None:
    assert CANONICAL["repetition_penalty"] == "repeat_penalty"
    assert CANONICAL["num_predict"] == CANONICAL["max_completion_tokens"] == "max_tokens"
    assert CANONICAL["reasoning_effort"] == "think"
    assert CANONICAL["format"] == "response_format"


@ENTRIES
def test_the_stronger_spellings_come_first(p: Parameter) -> None:
    assert set(p.stronger) <= set(p.aliases)
    assert p.spellings[: len(p.stronger)] == p.stronger
    assert p.spellings[len(p.stronger)] == p.name


def test_the_new_name_for_max_tokens_beats_the_old_one() -> None:
    assert CATALOG["max_tokens"].spellings[:2] == ("max_completion_tokens", "max_tokens")


@ENTRIES
def test_a_default_is_a_value_of_its_own_type_and_form(p: Parameter) -> None:
    if p.default is None:
        return
    assert check(p, p.default) == p.default
    if isinstance(p.default, int | float) and not isinstance(p.default, bool):
        assert _inside(p.default, p.form)


def _inside(value: float, limits: Range) -> bool:
    return (limits.min is None or value >= limits.min) and (limits.max is None or value <= limits.max)


@ENTRIES
def test_what_a_form_takes_is_never_clamped_by_the_hard_bounds(p: Parameter) -> None:
    for end in (p.form.min, p.form.max):
        assert end is None or _inside(end, p.hard)


@ENTRIES
def test_every_number_that_counts_has_an_end_that_fits_into_its_runtime(p: Parameter) -> None:
    """Without one, a number of any size would reach a JSON writer that refuses it."""
    if p.type != "int":
        return
    assert p.hard.min is not None and p.hard.max is not None
    assert p.hard.min >= -INT64 - 1 and p.hard.max <= INT64
    if p.name != "seed":
        assert p.hard.max <= INT32


@ENTRIES
def test_only_numbers_have_ranges_and_only_enums_have_options(p: Parameter) -> None:
    if p.type not in ("float", "int"):
        assert (p.form, p.hard, p.step) == (Range(), Range(), None)
    assert bool(p.options) == (p.type == "enum")
    assert (p.items is not None) == (p.type == "list")


@ENTRIES
def test_a_description_is_one_sentence_for_people(p: Parameter) -> None:
    assert p.desc.endswith(".")
    assert "\n" not in p.desc and "|" not in p.desc


def test_what_concerns_the_loaded_model_is_protected() -> None:
    loading = {name for name, p in CATALOG.items() if p.when == "load"}
    assert loading >= {"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap", "keep_alive"}
    assert all(CATALOG[name].protected for name in loading)
    assert {name for name, p in CATALOG.items() if p.protected} == loading | {"priority"}


@pytest.mark.parametrize("name", sorted(UNLIMITED_BELOW_ZERO))
def test_an_unlimited_parameter_takes_negative_values(name: str) -> None:
    assert CATALOG[name].type == "int"
    low: Any = CATALOG[name].hard.min
    assert low < -1
