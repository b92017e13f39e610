"""I/O. The command line: one module per command, listed in `COMMANDS`.

`group` loads a command's module when it is called: the server's takes half a second. `client` talks to a
running proxy, `output` prints and ends with the right exit code, `tables` and `layout` draw.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration.
"""

from __future__ import annotations

import click

from proxy import __version__
from proxy.cli.group import Entry, LazyGroup

COMMANDS = {
    "serve": Entry("proxy.cli.serve", "serve", "Start the proxy."),
    "demo": Entry("proxy.cli.serve", "demo", "Start the proxy with an embedded demo runtime."),
    "check": Entry("proxy.cli.check", "check", "Validate rule files."),
    "explain": Entry("proxy.cli.explain", "explain", "Show what a request would get, without sending it."),
    "models": Entry("proxy.cli.models", "models", "Show what each upstream serves."),
    "schema": Entry("proxy.cli.schema", "schema", "Print schemas, for editors."),
}
"""Command -> where it is and what it does, in the order of `--help`."""


@click.group(cls=LazyGroup, entries=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="attune")
def main() -> None:
    """Attune: the right generation parameters for every request to Ollama or vLLM, and why.

    Start with `attune demo`, or with `attune serve` if an Ollama runs on this machine.
    """
