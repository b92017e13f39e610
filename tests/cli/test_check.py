import json
from pathlib import Path

import pytest

from tests.cli.conftest import Attune

BAD = """\
rules:
  - name: hot
    set: {temperatur: 1}
  - name: cold
    colour: blue
"""
DOUBTFUL = """\
rules:
  - {name: a, stop: true}
  - {name: b, set: {seed: 1}}
"""


def test_the_files_that_ship_are_sound(attune: Attune) -> None:
    result = attune("check")

    assert result.exit_code == 0
    assert result.stdout.endswith("built-in: no faults, no warnings\n")


def test_a_fault_is_printed_with_file_and_line(attune: Attune, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    result = attune("check", str(bad))

    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[0].startswith(f"{bad}:3: ")
    assert "temperature" in lines[0]
    assert lines[1].startswith(f"{bad}:5: ")
    assert lines[2].startswith("1 file and ")
    assert lines[2].endswith(": 2 faults, no warnings")


def test_a_missing_path_is_a_fault(attune: Attune, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.yaml"
    result = attune("check", str(missing))

    assert result.exit_code == 1
    assert f"{missing}:1: no such file or folder" in result.stdout


def test_a_warning_is_no_failure(attune: Attune, tmp_path: Path) -> None:
    doubtful = tmp_path / "doubtful.yaml"
    doubtful.write_text(DOUBTFUL)
    result = attune("check", str(doubtful))

    assert result.exit_code == 0
    assert result.stdout.startswith(f"{doubtful}:3: warning: ")
    assert result.stdout.endswith(": no faults, 1 warning\n")


def test_json_has_faults_and_warnings_apart(attune: Attune, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DOUBTFUL)
    sound = attune("check", str(tmp_path), "--json")
    (tmp_path / "b.yaml").write_text(BAD)
    broken = attune("check", str(tmp_path), "--json")

    said = json.loads(sound.stdout)
    assert (sound.exit_code, said["ok"], said["faults"]) == (0, True, [])
    assert [(w["file"], w["line"]) for w in said["warnings"]] == [(str(tmp_path / "a.yaml"), 3)]
    said = json.loads(broken.stdout)
    assert (broken.exit_code, said["ok"]) == (1, False)
    assert [(f["file"], f["line"]) for f in said["faults"]] == [
        (str(tmp_path / "b.yaml"), 3),
        (str(tmp_path / "b.yaml"), 5),
    ]
    assert all(f["message"] for f in said["faults"])


def test_files_are_checked_together_with_those_that_ship(attune: Attune, tmp_path: Path) -> None:
    file = tmp_path / "uses.yaml"
    file.write_text("rules:\n  - {name: a, profile: precise}\n")

    assert attune("check", str(file)).exit_code == 0
    alone = attune("check", str(file), "--no-builtin")
    assert alone.exit_code == 1
    assert f"{file}:2: " in alone.stdout
    assert alone.stdout.endswith("1 file: 1 fault, no warnings\n")


def test_without_paths_the_environment_says_where_they_are(
    attune: Attune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    monkeypatch.setenv("ATTUNE_RULES", str(tmp_path))
    monkeypatch.setenv("ATTUNE_BUILTIN_RULES", "off")
    result = attune("check")

    assert result.exit_code == 1
    assert result.stdout.endswith("1 file: 2 faults, no warnings\n")


def test_a_bad_setting_is_no_fault_of_the_files(attune: Attune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_PORT", "many")
    result = attune("check")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "ATTUNE_PORT" in result.stderr
