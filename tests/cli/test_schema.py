import json
from pathlib import Path

from proxy.rules.schema import rules_schema
from tests.cli.conftest import Attune


def test_the_schema_of_rule_files_is_printed(attune: Attune) -> None:
    result = attune("schema", "rules")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == rules_schema()


def test_it_can_be_written_to_a_file(attune: Attune, tmp_path: Path) -> None:
    out = tmp_path / "rules.schema.json"
    result = attune("schema", "rules", "--out", str(out))

    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(out.read_text()) == rules_schema()
    assert out.read_text().endswith("}\n")


def test_a_file_that_cannot_be_written_is_named(attune: Attune, tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "schema.json"
    result = attune("schema", "rules", "--out", str(out))

    assert result.exit_code == 1
    assert str(out) in result.stderr


def test_it_is_json_with_and_without_the_word(attune: Attune) -> None:
    assert attune("schema", "rules", "--json").stdout == attune("schema", "rules").stdout
