from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from proxy.backends import BACKENDS, ollama, vllm
from proxy.backends.support import HEAD, NONE, SINCE, TITLES, UNTIL, ask, sample, support, support_table
from proxy.parameters.catalog import CATALOG
from proxy.parameters.values import check
from tests.backends import cases

PAGE = Path(__file__).parents[2] / "docs" / "parameters.md"
TABLE = support_table()


def rows() -> dict[str, dict[str, str]]:
    """The table's cells, by parameter and heading."""
    found = {}
    for line in TABLE.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == len(HEAD)
            found[cells[0].split("`")[1]] = dict(zip(HEAD, cells, strict=True))
    return found


ROWS = rows()


def test_the_page_holds_the_table_as_the_code_makes_it() -> None:
    block = re.search(r"<!-- generated: parameters -->\n(.*?)<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert block is not None
    assert block[1].strip() == TABLE.strip(), "write support_table() between the markers"


def test_the_table_is_the_same_every_time() -> None:
    assert support_table() == TABLE


def test_every_parameter_has_its_row_in_the_catalogues_order() -> None:
    assert list(ROWS) == list(CATALOG)


@pytest.mark.parametrize("name", CATALOG)
def test_what_a_row_says_of_the_parameter_itself(name: str) -> None:
    p, row = CATALOG[name], ROWS[name]
    assert row["type"].split()[0] == p.type
    assert row["when"] == p.when
    assert (row["protected"] == "yes") == p.protected
    assert row["meaning"] == p.desc
    assert all(f"`{alias}`" in row["parameter"] for alias in p.aliases)


@pytest.mark.parametrize(
    ("name", "heading", "cell"),
    [
        ("temperature", "form", "0 to 2"),
        ("temperature", "hard", "from 0"),
        ("temperature", "vLLM", "`temperature`, 0 to 2"),
        ("seed", "hard", "-2^63 to 2^63-1"),
        ("stop", "vLLM", "`stop`, at most 4"),
        ("stop", "form", ""),
        ("min_p", "vLLM", "`min_p`"),
        ("min_p", "Ollama", "`options.min_p`, since 0.3.1"),
        ("max_tokens", "Ollama", "`options.num_predict`"),
        ("max_tokens", "OpenAI-compatible", "`max_tokens` or `max_completion_tokens`"),
        ("repeat_penalty", "vLLM", "`repetition_penalty`, from 0.01"),
        ("repeat_last_n", "vLLM", NONE),
        ("mirostat", "Ollama", "`options.mirostat`, before 0.7.0"),
        ("best_of", "vLLM", "`best_of`, before 0.12"),
        ("best_of", "Ollama", NONE),
        ("guided_json", "vLLM", "`structured_outputs.json`"),
        ("num_gqa", "Ollama", "`options.num_gqa`, before 0.1.35"),
        ("mirostat", "form", "`0`, `1`, `2`"),
        ("think", "Ollama", "`think`, since 0.9.0"),
        ("n", "Ollama", NONE),
        ("num_ctx", "OpenAI-compatible", NONE),
        ("parallel_tool_calls", "Ollama", "answer: only the first tool call is passed on"),
    ],
)
def test_some_cells_in_full(name: str, heading: str, cell: str) -> None:
    assert ROWS[name][heading] == cell


@pytest.mark.parametrize("runtime", BACKENDS)
@pytest.mark.parametrize("name", CATALOG)
def test_a_cell_names_what_really_goes_on_the_wire(name: str, runtime: str) -> None:
    value: Any = 1 if name == "n" and runtime == "ollama" else sample(CATALOG[name])
    wire = cases.wires(cases.translate(BACKENDS[runtime], {name: value}, cases.target(runtime))).get(name)
    cell = ROWS[name][HEAD[6 + list(BACKENDS).index(runtime)]]
    if wire is None:
        assert cell == NONE or "before" in cell
    else:
        assert wire in cell


@pytest.mark.parametrize("runtime", BACKENDS)
def test_the_versions_are_where_translations_change(runtime: str) -> None:
    backend = BACKENDS[runtime]
    for name, version in SINCE.get(runtime, {}).items():
        for minor, known in ((version, True), (_before(version), False)):
            target = cases.target(runtime, ".".join(map(str, minor)))
            wires = cases.wires(cases.translate(backend, {name: sample(CATALOG[name])}, target))
            assert (name in wires) == known, (name, minor)
    assert SINCE["ollama"].keys() >= ollama.ADDED.keys()
    assert SINCE["vllm"].keys() == vllm.SINCE.keys()


@pytest.mark.parametrize("runtime", UNTIL)
def test_the_last_versions_are_where_translations_change_too(runtime: str) -> None:
    for name, version in UNTIL[runtime].items():
        for minor, known in ((version, False), (_before(version), True)):
            target = cases.target(runtime, ".".join(map(str, minor)))
            wires = cases.wires(cases.translate(BACKENDS[runtime], {name: sample(CATALOG[name])}, target))
            assert (name in wires) == known, (name, minor)


def _before(version: tuple[int, ...]) -> tuple[int, ...]:
    *parents, last = (*version, 0)[:3]
    return (*parents, last - 1) if last else (parents[0], parents[1] - 1, 99)


@pytest.mark.parametrize("runtime", BACKENDS)
def test_every_gap_has_its_reason_below_the_table(runtime: str) -> None:
    _, _, part = TABLE.partition(f"{TITLES[runtime]} takes none of these:\n\n")
    listed = part.split("\n\n")[0]
    for name in CATALOG:
        wire, reason = ask(BACKENDS[runtime], name)
        line = next((line for line in listed.splitlines() if f"`{name}`" in line), None)
        assert (line is None) == (wire is not None)
        if line is not None:
            assert line.endswith(f": {reason}")


@pytest.mark.parametrize("name", CATALOG)
def test_a_sample_is_a_value_that_a_client_may_send(name: str) -> None:
    p = CATALOG[name]
    assert check(p, sample(p)) == sample(p)


def test_each_runtime_says_what_it_makes_of_a_parameter() -> None:
    mirostat = support("mirostat")
    assert mirostat["ollama"]["name"] is None and mirostat["ollama"]["until"] == "0.7.0"
    assert mirostat["vllm"]["reason"] and mirostat["openai"]["name"] == "mirostat"
    assert support("repeat_penalty")["vllm"] == {
        "name": "repetition_penalty", "since": None, "until": None, "reason": None
    }  # fmt: skip
    assert support("min_p")["ollama"] == {
        "name": "options.min_p", "since": "0.3.1", "until": None, "reason": None
    }  # fmt: skip
    assert all(set(support(name)) == set(BACKENDS) for name in CATALOG)
