from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.parameters.families import (
    LONGEST_NAME,
    Family,
    FamilyIndex,
    Recommendation,
    Thinking,
    find,
    names,
    recommend,
)

FILES = sorted((Path(__file__).parents[2] / "rules" / "families").glob("*.yaml"))
ENTRIES: list[dict[str, Any]] = [
    entry for file in FILES for entry in yaml.safe_load(file.read_text(encoding="utf-8"))["families"]
]
BUILTIN = tuple(Family.model_validate(entry).as_builtin() for entry in ENTRIES)
BY_NAME = {family.name: family for family in BUILTIN}
INDEX = FamilyIndex(BUILTIN)
EXPECTED: dict[str, list[str]] = yaml.safe_load(
    Path(__file__).with_name("family_names.yaml").read_text(encoding="utf-8")
)
VENDORS: list[list[Any]] = yaml.safe_load(
    Path(__file__).with_name("family_values.yaml").read_text(encoding="utf-8")
)
MODELS = [(model, family) for family, models in EXPECTED.items() for model in models]

TASKS = (
    "primary primary-summary master-summary brief-summary key-points self-critique improvement memory-retrieval "
    "analysis research-task research-plan research-consolidation research-analysis embedding formatting "
    "image-generation-prompt image-generation engineering reranking"
).split()
PARAMETERS = (
    "temperature max_tokens top_p top_k min_p typical_p repeat_penalty repeat_last_n presence_penalty "
    "frequency_penalty mirostat mirostat_tau mirostat_eta tfs_z seed stop num_ctx num_keep num_batch num_gpu "
    "main_gpu num_thread use_mmap keep_alive think min_tokens"
).split()
SANE = {
    "temperature": (float, 0.0, 2.0),
    "top_p": (float, 0.0, 1.0),
    "top_k": (int, 0, 100),
    "min_p": (float, 0.0, 1.0),
    "repeat_penalty": (float, 1.0, 2.0),
    "presence_penalty": (float, -2.0, 2.0),
    "frequency_penalty": (float, -2.0, 2.0),
}

COLUMNS = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty")
SILENT = {"phi-4", "phi-4-mini", "glm-4-0414", "granite-3.3", "olmo-2"}


def family(name: str, *match: str, builtin: bool = False, **more: Any) -> Family:
    entry = Family.model_validate({"name": name, "match": list(match), **more})
    return entry.as_builtin() if builtin else entry


def advice(mode: str = "any", task: str = "any", temperature: float = 0.5) -> dict[str, Any]:
    return {
        "mode": mode,
        "task": task,
        "values": {"temperature": temperature},
        "source": "card",
        "grade": "B",
    }


def name_of(found: Family | None) -> str:
    return found.name if found else ""


# --- the built-in catalogue


@pytest.mark.parametrize(("model", "expected"), MODELS, ids=[model for model, _ in MODELS])
def test_each_public_name_finds_its_family(model: str, expected: str) -> None:
    assert name_of(INDEX.find(model)) == expected


def test_there_are_names_enough_and_none_twice() -> None:
    models = [model for model, _ in MODELS]
    assert len(set(models)) == len(models)
    assert len(models) - len(EXPECTED[""]) >= 180
    assert len(EXPECTED[""]) >= 45


def test_family_names_are_kebab_case_and_each_has_an_example() -> None:
    assert [name for name in BY_NAME if not fnmatch.fnmatchcase(name, "[a-z]*") or name != name.lower()] == []
    assert not [name for name in BY_NAME if set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-.")]
    assert len(BY_NAME) == len(BUILTIN)
    assert set(EXPECTED) - {""} == set(BY_NAME)


@pytest.mark.parametrize("entry", BUILTIN, ids=list(BY_NAME))
def test_no_pattern_is_idle(entry: Family) -> None:
    claimed = EXPECTED[entry.name]
    for pattern in entry.match:
        others = [p for p in entry.match if p != pattern] or ["*nothing at all*"]
        without = FamilyIndex([entry.model_copy(update={"match": tuple(others)})])
        assert any(without.find(model) is None for model in claimed), pattern


@pytest.mark.parametrize("entry", [e for e in BUILTIN if e.exclude], ids=lambda e: e.name)
def test_no_exclusion_is_idle(entry: Family) -> None:
    for pattern in entry.exclude:
        others = tuple(p for p in entry.exclude if p != pattern)
        changed = entry.model_copy(update={"exclude": others}).as_builtin()
        without = FamilyIndex([changed if f.name == entry.name else f for f in BUILTIN])
        assert any(name_of(without.find(model)) != expected for model, expected in MODELS), pattern


@pytest.mark.parametrize("row", VENDORS, ids=lambda row: "-".join(row[:3]))
def test_the_vendors_values_are_as_published(row: list[Any]) -> None:
    name, mode, task, grade, *published = row
    entry = next(r for r in BY_NAME[name].recommended if (r.mode, r.task) == (mode, task))
    assert entry.values == {k: v for k, v in zip(COLUMNS, published, strict=False) if v is not None}
    assert entry.grade == grade
    assert len(entry.source) > 5


def test_nothing_is_recommended_beyond_what_was_published() -> None:
    shipped = {(f.name, r.mode, r.task) for f in BUILTIN for r in f.recommended}
    assert shipped == {(name, mode, task) for name, mode, task, *_ in VENDORS}
    assert {f.name for f in BUILTIN if not f.recommended} == SILENT


@pytest.mark.parametrize("entry", BUILTIN, ids=list(BY_NAME))
def test_values_are_known_parameters_of_sane_type_and_range(entry: Family) -> None:
    for recommendation in entry.recommended:
        assert recommendation.task in ("any", *TASKS)
        assert set(recommendation.values) <= set(PARAMETERS)
        for name, value in recommendation.values.items():
            kind, low, high = SANE[name]
            assert type(value) is kind, name
            assert low <= value <= high, name


def test_llama_3_ranges_from_0_to_1_in_all_its_releases() -> None:
    for model in ("llama3:8b", "llama3.1:70b", "meta-llama/Llama-3.2-3B-Instruct", "llama3.3"):
        found = INDEX.find(model)
        assert found is not None
        assert found.name == "llama-3"
        bounds = found.parameters["temperature"]
        assert (bounds["type"], bounds["default"], bounds["min"], bounds["max"]) == ("float", 0.7, 0.0, 1.0)
    assert {"llama3*", "*llama-3*"} <= set(BY_NAME["llama-3"].match)


@pytest.mark.parametrize(
    ("name", "default", "switch", "levels", "soft"),
    [
        ("qwen3", "on", "enable_thinking", (), True),
        ("qwen3-thinking-2507", "always", "none", (), False),
        ("qwen3-instruct-2507", "never", "none", (), False),
        ("gpt-oss", "always", "reasoning_effort", ("low", "medium", "high"), False),
        ("mistral-small-4", "off", "reasoning_effort", ("none", "high"), False),
        ("deepseek-v3.1", "off", "thinking", (), False),
        ("deepseek-v4-dated", "off", "thinking", ("low", "high", "max"), False),
        ("deepseek-r1", "always", "none", (), False),
        ("glm-4.6", "on", "enable_thinking", (), False),
        ("gemma-4", "off", "enable_thinking", (), False),
        ("granite-3.3", "off", "thinking", (), False),
        ("smollm3", "on", "enable_thinking", (), True),
        ("llama-3", "never", "none", (), False),
    ],
)
def test_thinking_is_switched_as_the_template_wants(
    name: str, default: str, switch: str, levels: tuple[str, ...], soft: bool
) -> None:
    thinking = BY_NAME[name].thinking
    assert (thinking.default, thinking.switch, thinking.levels, thinking.soft) == (
        default,
        switch,
        levels,
        soft,
    )


@pytest.mark.parametrize(
    ("name", "context", "output"),
    [
        ("qwen3", 40960, 32768),
        ("qwen3-instruct-2507", 262144, 16384),
        ("qwen3-coder", 262144, 65536),
        ("llama-3", None, None),
        ("llama-4-scout", 10485760, None),
        ("gemma-4", 131072, None),
        ("gemma-4-31b", 262144, None),
        ("gpt-oss", 131072, None),
        ("deepseek-r1", 163840, 32768),
        ("deepseek-v4", 1048576, 393216),
        ("glm-4.5", 131072, None),
        ("glm-4.7", 202752, None),
        ("glm-5.2", 1048576, None),
        ("glm-z1-0414", None, 30000),
        ("phi-4-mini", 131072, None),
    ],
)
def test_context_and_output_are_as_published(name: str, context: int | None, output: int | None) -> None:
    assert (BY_NAME[name].context, BY_NAME[name].output) == (context, output)


def test_an_always_thinking_family_recommends_for_its_only_mode() -> None:
    for entry in BUILTIN:
        modes = {r.mode for r in entry.recommended}
        if entry.thinking.default == "always":
            assert "non-thinking" not in modes, entry.name
        if entry.thinking.default == "never":
            assert "thinking" not in modes, entry.name


def test_every_file_opens_with_what_it_is() -> None:
    assert len(FILES) >= 12
    for file in FILES:
        first = file.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# ")
        assert "recommended values" in first


# --- spellings and choice


@pytest.mark.parametrize(
    ("model", "spellings"),
    [
        ("Qwen3:8B", ("qwen3:8b",)),
        ("hf.co/unsloth/Qwen3-8B-GGUF:Q4", ("hf.co/unsloth/qwen3-8b-gguf:q4", "qwen3-8b-gguf:q4")),
        ("/models/Qwen3-8B", ("/models/qwen3-8b", "qwen3-8b")),
        ("/models/Qwen3-8B/", ("/models/qwen3-8b/", "qwen3-8b")),
        ("/", ("/",)),
        ("", ("",)),
    ],
)
def test_a_model_is_known_by_its_full_name_and_its_last_part(model: str, spellings: tuple[str, ...]) -> None:
    assert names(model) == spellings


@pytest.mark.parametrize(
    ("pattern", "model", "matches"),
    [
        ("acme?", "acme1", True),
        ("acme?", "acme", False),
        ("acme[12]", "acme2", True),
        ("acme[!12]", "acme2", False),
        ("acme", "org/acme", True),
        ("org/*", "org/acme", True),
        ("org/*", "other/acme", False),
        ("ACME*", "acme:8b", True),
        ("acme", "acme:8b", False),
        ("acme.", "acmeX", False),
    ],
)
def test_patterns_are_globs_over_either_spelling(pattern: str, model: str, matches: bool) -> None:
    assert (find([family("a", pattern)], model) is not None) is matches


def test_an_exclusion_beats_a_match_on_any_spelling() -> None:
    families = [family("a", "*acme*", exclude=["acme-embed*", "mirror/*"])]
    assert name_of(find(families, "org/acme-chat")) == "a"
    assert find(families, "mirror/acme-chat") is None
    assert find(families, "org/ACME-Embed-v1") is None


def test_an_excluded_family_leaves_the_model_to_the_next() -> None:
    families = [family("wide", "acme*"), family("narrow", "acme-large*", exclude=["*-base"])]
    assert name_of(find(families, "acme-large")) == "narrow"
    assert name_of(find(families, "acme-large-base")) == "wide"


def test_your_family_beats_a_built_in_one_however_vague() -> None:
    mine = family("mine", "*")
    for families in ([mine, *BUILTIN], [*BUILTIN, mine]):
        assert name_of(find(families, "qwen3:8b")) == "mine"
    assert name_of(find([*BUILTIN, family("mine", "qwen3:14b")], "qwen3:8b")) == "qwen3"


@pytest.mark.parametrize("builtin", [True, False])
def test_the_pattern_with_most_literal_characters_wins(builtin: bool) -> None:
    families = [
        family("longest", "acme-chat-2*", builtin=builtin),
        family("brackets", "acme-chat-[0-9abcdefghijklmnop]*", builtin=builtin),
        family("wild", "*a*c*m*e*", builtin=builtin),
    ]
    assert name_of(find(families, "acme-chat-2.5")) == "longest"
    assert name_of(find(families, "acme-chat-3")) == "brackets"
    assert name_of(find(families, "acme")) == "wild"


def test_the_best_pattern_of_a_family_counts() -> None:
    families = [family("a", "*", "acme-chat*"), family("b", "acme*")]
    assert name_of(find(families, "acme-chat")) == "a"
    assert name_of(find(families, "acme-code")) == "b"


def test_of_equals_the_later_wins() -> None:
    assert name_of(find([family("first", "acme*"), family("second", "*acme")], "acme")) == "second"
    assert name_of(find([family("second", "*acme"), family("first", "acme*")], "acme")) == "first"


def test_no_families_no_family() -> None:
    assert FamilyIndex([]).find("qwen3") is None


def test_a_text_too_long_for_a_name_belongs_to_nobody() -> None:
    fits = "qwen3:" + "x" * (LONGEST_NAME - 6)
    assert name_of(INDEX.find(fits)) == "qwen3"
    assert INDEX.find(fits + "x") is None


def test_an_index_keeps_answering_the_same() -> None:
    assert INDEX.find("qwen3:8b") is INDEX.find("qwen3:8b") is BY_NAME["qwen3"]


@given(st.text(max_size=80))
def test_any_text_may_be_asked_for(model: str) -> None:
    found = INDEX.find(model)
    assert found is None or found in INDEX.families


@given(st.sampled_from([model for model, _ in MODELS]), st.integers(min_value=0))
def test_case_does_not_matter(model: str, bits: int) -> None:
    mixed = "".join(c.upper() if bits >> i & 1 else c.lower() for i, c in enumerate(model))
    assert INDEX.find(mixed) is INDEX.find(model)


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4), st.text(max_size=20))
def test_any_text_may_be_a_pattern(patterns: list[str], model: str) -> None:
    found = find([family("a", *patterns)], model)
    assert found is None or found.name == "a"


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="*?[]/"), min_size=1, max_size=20))
def test_a_pattern_without_wildcards_matches_itself(text: str) -> None:
    assert find([family("a", text)], f"org/{text}") is not None


# --- recommendations


def test_the_most_specific_recommendation_wins() -> None:
    levels = [
        advice(temperature=0.1),
        advice("thinking", temperature=0.2),
        advice("any", "engineering", 0.3),
        advice("thinking", "engineering", 0.4),
    ]
    for count, expected in ((4, 0.4), (3, 0.3), (2, 0.2), (1, 0.1)):
        entry = family("a", "a", recommended=levels[:count])
        found = recommend(entry, "thinking", "engineering")
        assert found is not None
        assert found.values["temperature"] == expected


@pytest.mark.parametrize(
    ("mode", "task", "temperature"),
    [
        ("thinking", None, 1.0),
        ("thinking", "analysis", 1.0),
        ("thinking", "no-such-task", 1.0),
        ("thinking", "engineering", 0.6),
        ("non-thinking", "engineering", 0.7),
        ("non-thinking", None, 0.7),
    ],
)
def test_qwen_3_5_has_values_per_mode_and_task(mode: str, task: str | None, temperature: float) -> None:
    found = recommend(BY_NAME["qwen3.5"], mode, task)
    assert found is not None
    assert found.values["temperature"] == temperature


def test_what_is_meant_for_one_mode_is_not_lent_to_another() -> None:
    assert recommend(BY_NAME["deepseek-r1"], "non-thinking", None) is None
    assert recommend(BY_NAME["qwen3"], "any", None) is None
    assert recommend(BY_NAME["phi-4"], "non-thinking", "engineering") is None


def test_values_for_a_task_are_not_used_without_it() -> None:
    entry = family("a", "a", recommended=[advice("any", "engineering")])
    assert recommend(entry, "thinking", None) is None
    assert recommend(entry, "thinking", "engineering") is entry.recommended[0]


# --- what an entry may say


def test_a_name_and_a_match_are_enough() -> None:
    entry = Family.model_validate({"name": "acme", "match": "acme*"})
    assert entry.match == ("acme*",)
    assert (entry.thinking, entry.recommended, entry.parameters) == (Thinking(), (), {})
    assert not entry.builtin


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("context: '4096'", "context"),
        ("context: true", "context"),
        ("context: 0", "context"),
        ("output: 1.5", "output"),
        ("builtin: true", "builtin"),
        ("_builtin: true", "_builtin"),
        ("colour: red", "colour"),
        ("match: []", "match"),
        ("match: ['']", "match"),
        ("match: [1]", "match"),
        ("exclude: 7", "exclude"),
        ("name: ''", "name"),
        ("name: 'two words'", "name"),
        ("thinking: {default: maybe}", "thinking"),
        ("thinking: {default: on, soft: 1}", "thinking"),
        ("thinking: {switch: thinking}", "thinking"),
        ("thinking: {levels: [low]}", "thinking"),
        ("thinking: {soft: true}", "thinking"),
        ("parameters: {temperature: 1}", "parameters"),
        ("recommended: [{values: {top_k: 1}, grade: A}]", "recommended"),
        ("recommended: [{values: {top_k: 1}, source: card}]", "recommended"),
        ("recommended: [{values: {top_k: 1}, source: card, grade: E}]", "recommended"),
        ("recommended: [{values: {top_k: 1}, source: '', grade: A}]", "recommended"),
        ("recommended: [{values: {}, source: card, grade: A}]", "recommended"),
        ("recommended: [{mode: dreaming, values: {top_k: 1}, source: card, grade: A}]", "recommended"),
    ],
)
def test_a_faulty_entry_is_refused_by_name(text: str, where: str) -> None:
    with pytest.raises(ValidationError) as fault:
        Family.model_validate({"name": "acme", "match": "acme*", **yaml.safe_load(text)})
    assert [str(error["loc"][0]) for error in fault.value.errors()] == [where]


def test_two_recommendations_for_the_same_case_are_refused() -> None:
    with pytest.raises(ValidationError, match="mode thinking and task engineering"):
        family(
            "a", "a", recommended=[advice("thinking", "engineering"), advice("thinking", "engineering", 0.1)]
        )


@pytest.mark.parametrize(
    ("word", "default"), [("on", "on"), ("off", "off"), ("'on'", "on"), ("always", "always")]
)
def test_on_and_off_need_no_quotes(word: str, default: str) -> None:
    assert Thinking.model_validate(yaml.safe_load(f"default: {word}")).default == default


def test_entries_are_immutable_and_only_the_loader_makes_them_built_in() -> None:
    mine = family("a", "a", recommended=[advice()])
    for entry, field in ((mine, "name"), (mine.thinking, "soft"), (mine.recommended[0], "grade")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(entry, field, "x")
    assert mine.as_builtin().builtin
    assert not mine.builtin
    assert isinstance(mine.recommended[0], Recommendation)


def test_the_schema_for_editors_describes_each_key_and_hides_the_loaders() -> None:
    schema = Family.model_json_schema()
    assert "builtin" not in str(schema["properties"].keys())
    assert all("description" in entry for entry in schema["properties"].values())
    assert schema["required"] == ["name", "match"]
    assert {option["type"] for option in schema["properties"]["match"]["anyOf"]} == {"string", "array"}
