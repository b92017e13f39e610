from typing import Any

import pytest
from rich.console import Console

from proxy.cli.tables import decision_table, layers_table, models_table
from proxy.parameters.layers import Layer

LONG = "a-rule-with-quite-a-long-name-that-somebody-thought-of"


def entry(
    value: Any, layer: str = "client", source: str = "request", wire: str | None = None, **more: Any
) -> Any:
    return {"value": value, "layer": layer, "source": source, "wire": wire, **more}


def decision(**changes: Any) -> dict[str, Any]:
    whole = {
        "request_id": "r1", "model": "llama3:8b", "upstream": "gpu-a", "runtime": "ollama",
        "runtime_version": "0.32.15", "family": "llama-3", "mode": "non-thinking", "task": None, "profile": None,
        "profile_by": None, "rules": [], "snapshot": "0123456789abcdef", "parameters": {}, "dropped": {},
        "system_prompt": None, "warnings": [],
    }  # fmt: skip
    return {**whole, **changes}


def drawn(said: dict[str, Any], width: int = 100, *, assumed: bool = False) -> str:
    console = Console(width=width, markup=False, emoji=False, highlight=False, no_color=True)
    with console.capture() as captured:
        console.print(*decision_table(said, width=width, assumed=assumed), sep="\n")
    text = captured.get()
    assert max(map(len, text.splitlines())) <= width
    return "\n".join(line.rstrip() for line in text.splitlines())


CROWDED = decision(
    upstream_model="llama3:70b-instruct-q4_K_M",
    task="research-consolidation",
    profile="research-consolidation",
    profile_by="system profile for task research-consolidation",
    rules=[LONG, "another-rule", "and-a-third"],
    experiments={"cooler-code": "a"},
    parameters={
        "temperature": entry(
            1.0, wire="options.temperature", requested=1.6,
            clamped={"from": 1.6, "by": f"family llama-3: max 1.0; rule {LONG}: max 0.7"},
            passed_over=[
                {"layer": "rule-default", "source": f"rule {LONG}", "value": 0.3},
                {"layer": "client", "source": "request", "value": 0.5},
                {"layer": "vendor", "source": "family llama-3", "value": 0.6, "evidence": "a card (grade B)"},
            ],
        ),
        "presence_penalty": entry(0.5, "rule-set", f"rule {LONG}", "options.presence_penalty"),
        "think": entry(False, "profile", "profile x", "chat_template_kwargs.enable_thinking"),
        "stop": entry(
            ["</s>", "[/INST]", "<|eot_id|>"], "override-runtime", "stored for ollama", "options.stop",
            appended=[{"items": ["[/INST]"], "by": f"rule {LONG}"}],
        ),
        "top_k": entry(20, "vendor", "family llama-3", "options.top_k", evidence="a card (grade B)",
                       forgotten={"value": 3, "by": "rule x"}, requested=3),
        "response_format": entry({"type": "json_schema", "json_schema": {"name": "x" * 80}}, wire="format"),
        "repeat_last_n": entry(64, "runtime", "Modelfile"),
    },
    dropped={
        "mirostat": {"value": 2, "layer": "client", "source": "request", "reason": "ignored by ollama since 0.7.0"},
        "options.tempratur": {"value": 2, "layer": "client", "source": "request options",
                              "reason": "no such parameter; did you mean temperature?"},
    },
    system_prompt={"source": f"profile x + rule {LONG}"},
    warnings=["temperature was named more than once: 1.6 (request) is used, 0.5 (request options) is passed over"],
)  # fmt: skip


@pytest.mark.parametrize("width", [30, 60, 80, 100, 160])
def test_no_line_is_wider_than_the_screen_and_every_name_is_there(width: int) -> None:
    text = drawn(CROWDED, width)

    if width >= 80:
        for name in (*CROWDED["parameters"], *CROWDED["dropped"]):
            assert name in text


def test_the_notes_stand_beside_the_values_where_there_is_room_and_below_where_not() -> None:
    heading = next(line for line in drawn(CROWDED, 100).splitlines() if line.startswith("parameter"))
    assert heading.split() == ["parameter", "value", "layer", "source", "wire", "notes"]

    narrow = drawn(CROWDED, 80).splitlines()
    assert next(line for line in narrow if line.startswith("parameter")).split()[-1] == "wire"
    below = narrow[narrow.index("notes") :]
    assert below[2].startswith("temperature    clamped from 1.6 (family llama-3: max 1.0")


def test_the_head_says_what_the_decision_is_for() -> None:
    head = drawn(CROWDED, 160).partition("\n\n")[0].splitlines()

    assert head == [
        "model        llama3:8b",
        "sent as      llama3:70b-instruct-q4_K_M",
        "upstream     gpu-a (ollama 0.32.15)",
        "family       llama-3",
        "mode         non-thinking",
        "task         research-consolidation",
        "profile      research-consolidation (by system profile for task research-consolidation)",
        f"rules        {LONG}, another-rule, and-a-third",
        "experiments  cooler-code/a",
        "snapshot     0123456789ab",
    ]


def test_what_nobody_said_is_not_in_the_head() -> None:
    head = drawn(decision(upstream=None, runtime_version=None, family=None), assumed=True)

    assert "upstream  none named (ollama, assumed)" in head
    assert "family    unknown" in head
    for absent in (
        "task",
        "profile",
        "rules",
        "experiments",
        "sent as",
        "system prompt",
        "warning",
        "dropped",
    ):
        assert absent not in head
    assert "No parameter is sent" in head


def row(said: dict[str, Any], name: str) -> str:
    return next(line for line in drawn(said, 160).splitlines() if line.startswith(f"{name} "))


def test_a_row_says_value_layer_source_and_wire() -> None:
    said = decision(parameters={"top_k": entry(20, "vendor", "family llama-3", "options.top_k")})

    assert row(said, "top_k").split() == ["top_k", "20", "vendor", "family", "llama-3", "options.top_k"]


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ({"clamped": {"from": 9, "by": "rule x: max 5"}}, "clamped from 9 (rule x: max 5)"),
        ({"appended": [{"items": ["a"], "by": "rule x"}]}, 'appended ["a"] (rule x)'),
        ({"forgotten": {"value": 0, "by": "rule x"}}, "forgot 0 (rule x)"),
        ({"passed_over": [{"layer": "client", "source": "request", "value": 0}]}, "over client 0"),
        (
            {"passed_over": [{"layer": "profile", "source": "profile x", "value": 1}]},
            "over profile 1 (profile x)",
        ),
        ({"layer": "runtime"}, "(shown only)"),
    ],
)
def test_a_row_says_what_happened_to_the_value(more: dict[str, Any], note: str) -> None:
    said = decision(parameters={"top_k": {**entry(5, wire="top_k"), **more}})

    assert row(said, "top_k").endswith(f"  {note}")


def test_a_row_to_which_nothing_happened_has_no_note() -> None:
    assert row(decision(parameters={"top_k": entry(5, wire="top_k")}), "top_k").endswith("  top_k")


def test_a_name_on_the_wire_is_taken_apart_only_where_room_is_short() -> None:
    few = decision(parameters={"top_k": entry(20, wire="options.top_k")})

    assert "options.top_k" in drawn(few, 80)
    assert "options.presence_penalty" not in drawn(CROWDED, 100)
    assert "options.presence_penalty" in drawn(CROWDED, 240)


def test_drops_warnings_and_sources_stand_beneath() -> None:
    text = drawn(CROWDED, 160)

    assert "no such parameter; did you mean temperature? (request options)" in text
    assert "ignored by ollama since 0.7.0\n" in text
    assert f"system prompt  from profile x + rule {LONG}" in text
    assert text.count("from a card (grade B)") == 1
    assert "warning        temperature was named more than once" in text


def test_what_stands_in_a_request_is_shown_as_it_is() -> None:
    text = drawn(decision(parameters={"stop": entry(["[/INST]", "[bold]", "\x1b[2J"], wire="stop")}), 160)

    assert '["[/INST]", "[bold]", "\\u001b[2J"]' in text


def test_every_layer_is_listed_lowest_first() -> None:
    console = Console(width=100, no_color=True)
    with console.capture() as captured:
        console.print(*layers_table(100), sep="\n")
    text = captured.get()

    places = [text.index(f"{layer.value}  {layer.label}") for layer in Layer]
    assert places == sorted(places)
    assert "append, clamp, drop" in text


def test_models_are_listed_with_where_they_run() -> None:
    places = [
        {"upstream": "gpu-a", "runtime": "ollama", "loaded_context": 4096},
        {"upstream": "gpu-b", "runtime": "vllm", "loaded_context": None},
    ]
    known = {
        "name": "qwen3:8b",
        "family": "qwen3",
        "capabilities": ["completion", "tools"],
        "context_length": 40960,
    }
    unknown = {
        "name": "x",
        "family": None,
        "capabilities": None,
        "context_length": None,
        "upstreams": places[1:],
    }
    console = Console(width=100, no_color=True)
    with console.capture() as captured:
        console.print(models_table([{**known, "upstreams": places}, unknown], 100))
    lines = [line.split("  ") for line in captured.get().splitlines()[2:]]

    assert [cell.strip() for cell in lines[0] if cell.strip()] == [
        "qwen3:8b", "qwen3", "40960", "4096", "completion, tools", "gpu-a (ollama), gpu-b (vllm)",
    ]  # fmt: skip
    assert [cell.strip() for cell in lines[1] if cell.strip()] == ["x", "-", "-", "-", "-", "gpu-b (vllm)"]


ADDRESS = "127.0.0.1:46055"
LISTED: dict[str, Any] = {
    "name": "llama3.2:3b",
    "family": "llama-3",
    "capabilities": ["completion", "thinking", "tools"],
    "context_length": 131072,
    "upstreams": [{"upstream": ADDRESS, "runtime": "ollama", "loaded_context": 4096}],
}


def listed(width: int, *models: dict[str, Any]) -> list[str]:
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(models_table(models, width))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    return lines


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("name", ["llama3.2:3b", "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M"])
def test_no_word_of_a_listing_is_broken(width: int, name: str) -> None:
    lines = listed(width, {**LISTED, "name": name}, {**LISTED, "name": "qwen3:0.6b", "family": None})
    words = " ".join(lines).replace(",", " ").split()

    for word in (name, ADDRESS, "(ollama)", "completion", "thinking", "tools", "131072", "4096", "llama-3"):
        assert word in words
    heading = lines[0].split()
    assert heading in (["model", "family", "context", "loaded", "can", "upstreams"], [name])


def test_where_a_table_has_no_room_each_model_has_lines_of_its_own() -> None:
    name = "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M"

    assert listed(110, {**LISTED, "name": name})[0].startswith("model ")
    assert listed(60, {**LISTED, "name": name}, {"name": "x", "upstreams": [], **dict.fromkeys(
        ("family", "capabilities", "context_length"))}) == [
        name,
        "  llama-3  context 131072  loaded 4096",
        "  can completion, thinking, tools",
        "  on 127.0.0.1:46055 (ollama)",
        "x",
        "  -",
    ]  # fmt: skip


def test_a_name_wider_than_the_screen_is_taken_apart_at_a_separator() -> None:
    lines = listed(40, {**LISTED, "name": "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M"})

    assert lines[:2] == ["hf.co/bartowski/Llama-3.2-3B-Instruct-", "GGUF:Q4_K_M"]


def test_only_sources_of_vendor_values_that_won_are_named() -> None:
    won = entry(20, "vendor", "family llama-3", "top_k", evidence="a card (grade B)")
    beaten = entry(5, wire="top_k", evidence="another card (grade C)", passed_over=[
        {"layer": "vendor", "source": "family llama-3", "value": 20, "evidence": "a third card"}])  # fmt: skip

    text = drawn(decision(parameters={"top_k": won, "top_p": beaten}), 160)
    assert "vendor values  from a card (grade B)" in text
    assert "another card" not in text
    assert "third card" not in text
