"""I/O. `attune check`: the faults and warnings of rule files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from proxy.cli.output import FAILED, print_json, reporting
from proxy.errors import RuleFault
from proxy.reload import RuleFiles
from proxy.rules.check import warnings
from proxy.rules.parse import Parsed
from proxy.settings import from_environment
from proxy.snapshot import faults


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--no-builtin", is_flag=True, help="Leave out the files that ship with Attune.")
@click.option("--json", "as_json", is_flag=True, help='{"ok", "faults", "warnings"}.')
def check(paths: tuple[str, ...], no_builtin: bool, as_json: bool) -> None:
    """Validate rule files.

    Each PATH is a file or a folder; without any, ATTUNE_RULES says where they are. They are checked together
    with the files that ship, as the proxy would read them. Exit code 1 if anything is wrong, 0 if there are
    only warnings.
    """
    with reporting(as_json=as_json):
        settings = from_environment(
            os.environ, rules=paths or None, builtin_rules=False if no_builtin else None
        )
    files = RuleFiles([Path(p) for p in settings.rules], builtin=settings.builtin_rules).read()
    wrong = faults(files)
    # what a warning would say of files that are not understood yet is a guess
    doubtful = [] if wrong else warnings(files)
    if as_json:
        entries = {"faults": [_entry(f) for f in wrong], "warnings": [_entry(w) for w in doubtful]}
        print_json({"ok": not wrong, **entries})
    else:
        _print(wrong, doubtful, files)
    if wrong:
        raise click.exceptions.Exit(FAILED)


def _print(wrong: Sequence[RuleFault], doubtful: Sequence[RuleFault], files: Sequence[Parsed]) -> None:
    for fault in wrong:
        click.echo(f"{fault.file}:{fault.line}: {fault.message}")
    for warning in doubtful:
        click.echo(f"{warning.file}:{warning.line}: warning: {warning.message}")
    click.echo(f"{_files(files)}: {_count(wrong, 'fault')}, {_count(doubtful, 'warning')}")


def _files(files: Sequence[Parsed]) -> str:
    own = [parsed for parsed in files if not parsed.builtin]
    shipped = len(files) - len(own)
    return _count(own, "file") + (f" and {shipped} built-in" if shipped else "")


def _count(found: Sequence[Any], word: str) -> str:
    return f"{len(found) or 'no'} {word}{'' if len(found) == 1 else 's'}"


def _entry(fault: RuleFault) -> dict[str, Any]:
    return {"file": fault.file, "line": fault.line, "message": fault.message}
