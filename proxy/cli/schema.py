"""I/O. `attune schema`: schemas for editors."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from proxy.cli.output import print_json
from proxy.rules.schema import rules_schema


@click.group()
def schema() -> None:
    """Print schemas, for editors."""


@schema.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file instead.")
@click.option("--json", is_flag=True, expose_value=False, help="As without it: a schema is JSON.")
def rules(out: Path | None) -> None:
    """The JSON Schema of rule files.

    With it an editor completes and checks them while they are written. For editors that use the YAML language
    server, the head of a rule file says where it is:

    \b
      # yaml-language-server: $schema=FILE
    """
    if out is None:
        print_json(rules_schema())
        return
    try:
        out.write_bytes(orjson.dumps(rules_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except OSError as fault:
        raise click.ClickException(f"{out} cannot be written: {fault.strerror}") from None
