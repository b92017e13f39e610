"""The rule file guide: its example is sound, and its reference is the generated one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from proxy.rules.check import cross_check, warnings
from proxy.rules.document import read
from proxy.rules.rule import Match, Rule, RuleFile
from proxy.rules.schema import rules_reference
from tests.rules.files import CONTRACT, ROOT, lines, parsed, shipped

GUIDE = (ROOT / "docs" / "rules.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


def keys(value: Any) -> set[str]:
    """All keys at any depth."""
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys(inner)}
    return {key for inner in value for key in keys(inner)} if isinstance(value, list) else set()


def test_there_is_a_worked_example() -> None:
    assert len(EXAMPLES) >= 1


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_are_sound(text: str) -> None:
    files = [*shipped(), parsed(text, "docs/rules.md")]
    assert lines(cross_check(files)) == []
    assert lines(warnings(files)) == []


def test_the_worked_example_shows_every_key() -> None:
    shown = keys(read(EXAMPLES[0], "f").value)
    assert keys(read(CONTRACT, "f").value) <= shown
    for model in (RuleFile, Rule, Match):
        assert set(model.model_fields) <= shown


def test_the_reference_is_the_generated_one() -> None:
    found = re.search(r"<!-- generated: rules reference -->\n(.*)<!-- end -->", GUIDE, re.DOTALL)
    assert found is not None
    assert found[1].strip() == rules_reference().strip(), (
        "the models have changed: put what proxy.rules.schema.rules_reference() returns between the markers"
    )
