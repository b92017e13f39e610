"""The documentation says what the code does: generated parts, examples, names, links and numbers."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import click
import orjson
import pytest
import yaml

from proxy.api.admin import RESOURCES
from proxy.backends import ollama_lost, vllm
from proxy.cli import main
from proxy.decider import LONGEST_VALUE, MOST
from proxy.explain import LONGEST_HEADER
from proxy.explain import LONGEST_VALUE as LONGEST_SHOWN
from proxy.gateway import LINGER, LONGEST_ANSWER
from proxy.parameters.client import FIELDS
from proxy.parameters.layers import Layer
from proxy.rules.parse import parse
from proxy.rules.rule import RuleFile
from proxy.settings import PREFIX, Settings
from proxy.upstream.breaker import Breaker
from proxy.upstream.connection import HIGH
from proxy.upstream.fleet import FIRST_LOOK, LOOK_AGAIN
from tests.doc_pages import (
    DOCS,
    GENERATED,
    ROOT,
    blocks,
    fences,
    generated,
    links,
    name_of,
    pages,
    prose,
    rewritten,
    spans,
)
from tests.test_architecture import NEIGHBOURS, PROXY

CLIENTS_OWN = {"ATTUNE_URL", "ATTUNE_API_KEY"}
"""Variables that commands read, which are no settings of the proxy."""

PLACES = ("proxy/", "tests/", "rules/", "docs/", "deploy/")

SECTIONS = ["## Context", "## Decision", "## Why", "## Consequences"]

NUMBERS = {
    "architecture.md": (
        f"{MOST} decisions",
        f"{LONGEST_VALUE} bytes",
        f"{HIGH // 1024} KiB",
        f"{LONGEST_ANSWER >> 20} MiB",
        f"{Breaker().threshold} failures in a row",
        f"{Breaker().cooldown:g} seconds",
        f"{LINGER:g} seconds",
    ),
    "settings.md": (f"{FIRST_LOOK:g} seconds", f"{LOOK_AGAIN:g} seconds"),
    "resolution.md": (f"{LONGEST_HEADER} characters", f"{LONGEST_SHOWN} characters"),
    "vllm.md": (f"{vllm.MAX_STOP_STRINGS} stop strings", str(vllm.SMALLEST_TEMPERATURE)),
}
"""Numbers that pages say and code decides."""

each_page = pytest.mark.parametrize("page", pages(), ids=name_of)


def text_of(name: str) -> str:
    return (DOCS / name).read_text()


# What is generated


async def test_generated_parts_are_what_the_code_says() -> None:
    parts = await generated()
    said = {name: (page, text) for page in GENERATED for name, text in blocks(page.read_text()).items()}
    assert said.keys() == parts.keys()
    drifted = [f"{name_of(page)}: {name}" for name, (page, text) in said.items() if parts[name] != text]
    assert drifted == [], "`python -m tests.doc_pages` writes them anew"


def test_a_page_is_rewritten_between_its_markers_only() -> None:
    page = "a\n<!-- generated: x -->\nold\n<!-- end -->\nb\n<!-- generated: y -->\n\nkept\n\n<!-- end -->\n"
    new = rewritten(page, {"x": "new"})
    assert blocks(new) == {"x": "new", "y": "kept"}
    assert new.startswith("a\n<!-- generated: x -->\n\nnew\n\n<!-- end -->\nb\n")
    assert rewritten(new, {"x": "new"}) == new


def test_fences_keep_their_language_and_their_line() -> None:
    page = "a\n\n```json\n{}\n```\n\n- b\n\n  ```yaml\n  rules:\n  - x\n  ```\n"
    assert [(f.language, f.text, f.line) for f in fences(page)] == [
        ("json", "{}\n", 3),
        ("yaml", "rules:\n- x\n", 9),
    ]
    assert "{}" not in prose(page)
    assert spans("`one` and\n```\n`two`\n```\n") == ["one"]


# What is named exists


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page.read_text()):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{name_of(page)}: {link}"


def anchors(text: str) -> set[str]:
    """The names that a page's headings have on the web."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    for span in spans(page.read_text()):
        if span.startswith(PLACES) and re.fullmatch(r"[\w./-]+", span):
            assert (ROOT / span).exists(), f"{name_of(page)}: {span}"


@each_page
def test_code_that_is_named_exists(page: Path) -> None:
    for span in spans(page.read_text()):
        if re.fullmatch(r"(proxy|tests)(\.\w+)+", span):
            assert named(span), f"{name_of(page)}: {span}"


def named(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, attribute = dotted.rpartition(".")
        return "." in module and hasattr(importlib.import_module(module), attribute)
    return True


@each_page
def test_variables_that_are_named_are_settings(page: Path) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields} | CLIENTS_OWN
    assert set(re.findall(r"\bATTUNE_[A-Z][A-Z_]*[A-Z]\b", page.read_text())) <= known


@each_page
def test_headers_that_are_named_are_read_or_sent(page: Path) -> None:
    code = "".join(path.read_text() for path in PROXY.rglob("*.py"))
    known = set(re.findall(r"\bx-tuning-[a-z]+\b", code))
    assert {header.lower() for header in re.findall(r"X-Tuning-[A-Z][a-z]+", page.read_text())} <= known


# What can be run or read can be


@each_page
def test_json_can_be_read(page: Path) -> None:
    for fence in fences(page.read_text()):
        if fence.language == "json":
            orjson.loads(fence.text)


@each_page
def test_rule_files_have_no_fault(page: Path) -> None:
    for fence in fences(page.read_text()):
        content = yaml.safe_load(fence.text) if fence.language == "yaml" else None
        if isinstance(content, dict) and content.keys() & RuleFile.model_fields.keys():
            faults = parse(fence.text, f"{name_of(page)}:{fence.line}").faults
            assert [str(fault) for fault in faults] == []


@each_page
def test_commands_exist(page: Path) -> None:
    for fence in fences(page.read_text()):
        if fence.language in ("console", ""):
            for words in commands(fence.text):
                assert unknown(words) is None, f"{name_of(page)}:{fence.line}: {unknown(words)}"


COMMAND = re.compile(
    r"(?:^|&&|;|\|)\s*(?:\$ )?(?:\w+=\S+ )*(?:\S*/)?attune((?:[ \t]+[^\n&|;>#]*)?)(?=$|[\n&|;>#])",
    re.MULTILINE,
)


def commands(text: str) -> list[list[str]]:
    """The arguments of every `attune` that a shell would run."""
    return [shlex.split(arguments) for arguments in COMMAND.findall(text.replace("\\\n", " "))]


def unknown(words: list[str]) -> str | None:
    """The first command or option that does not exist."""
    command: click.Command = main
    context = click.Context(command)
    for word in words:
        if re.match(r"--?[a-z]", word):
            options = {opt for p in command.get_params(context) for opt in (*p.opts, *p.secondary_opts)}
            if word.partition("=")[0] not in options:
                return word
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return word
            command = found
    return None


def test_commands_are_found_and_judged() -> None:
    text = "$ attune serve --port 1 http://a:1  # x\npython -m venv v && v/bin/attune demo\nattune-x y\n"
    assert commands(text) == [["serve", "--port", "1", "http://a:1"], ["demo"]]
    assert commands("A=1 B=x attune explain \\\n  --model m | less\n") == [["explain", "--model", "m"]]
    assert unknown(["schema", "rules", "--out", "x"]) is None
    assert unknown(["schema", "roles"]) == "roles"
    assert unknown(["serve", "--prot", "1"]) == "--prot"


# What pages say of the code


@pytest.mark.parametrize("page", NUMBERS)
def test_numbers_are_the_code_s(page: str) -> None:
    text = " ".join(text_of(page).split())
    assert [words for words in NUMBERS[page] if words not in text] == []


def test_layers_that_are_said_to_be_empty_are() -> None:
    code = "".join(path.read_text() for path in PROXY.rglob("*.py") if path.stem != "layers")
    offered = [layer for layer in Layer if f"Layer.{layer.name}" in code]
    empty = [layer for layer in Layer if layer not in offered]
    assert empty == [Layer.OVERRIDE_RUNTIME, Layer.OVERRIDE_MODEL]
    assert "Layers 3 and 4 are empty" in text_of("resolution.md")


def test_every_exception_to_the_import_order_has_its_reason() -> None:
    text = text_of("architecture.md")
    assert [pair for pair in sorted(NEIGHBOURS) if f"`{pair[0]}` may use `{pair[1]}`" not in text] == []


def test_every_call_is_described() -> None:
    text = text_of("http.md")
    paths = {f"{method} {path}" for method, path, _ in RESOURCES}
    paths |= {
        "POST /v1/chat/completions",
        "GET /v1/models",
        "GET /v1/models/{id}",
        "GET /livez",
        "GET /readyz",
    }
    assert [path for path in sorted(paths) if f"`{path}`" not in text] == []


def test_every_field_that_is_translated_for_ollama_is_described() -> None:
    fields = set(spans(text_of("ollama.md")))
    assert sorted(ollama_lost.READ - FIELDS - fields) == []


RECORDS = sorted((DOCS / "decisions").glob("*.md"))


def test_decisions_are_numbered_without_gaps() -> None:
    assert [path.name[:5] for path in RECORDS] == [f"{i:04d}-" for i in range(1, len(RECORDS) + 1)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_decision_is_short_and_has_all_its_parts(record: Path) -> None:
    text = record.read_text()
    number = int(record.name[:4])
    assert text.startswith(f"# {number:04d} "), "the heading begins with the number"
    assert len(text.splitlines()) <= 40
    assert re.findall(r"^## .*$", text, re.MULTILINE) == SECTIONS


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    headings = re.findall(r"^##+ (.*)$", text_of("changelog.md"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    kinds: Any = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    versions = r"Unreleased|\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d"
    assert [h for h in headings if h not in kinds and not re.fullmatch(versions, h)] == []
