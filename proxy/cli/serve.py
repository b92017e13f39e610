"""I/O. `attune serve` and `attune demo`: the proxy until it is told to stop."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from proxy.app import entries, ollama_url
from proxy.cli.banner import Announce, demo_welcome, ready_line, welcome
from proxy.cli.output import FAILED, reporting
from proxy.reload import RuleFiles
from proxy.server import run
from proxy.settings import Settings, from_environment
from proxy.snapshot import build
from proxy.telemetry.log import configure

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

PORT = click.IntRange(0, 65535)

DEMO = "demo"
"""What the embedded runtime is called where an upstream's URL would stand: its port is nobody's business."""

_WHY_NOT = {
    errno.EADDRINUSE: "the port is in use; choose another with --port",
    errno.EACCES: "ports this low need more rights; choose another with --port",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
}


def _listening(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that both commands share. None has a default: what is not given, `ATTUNE_*` may say."""
    options = (
        click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]"),
        click.option("--port", type=PORT, help="Port; 0 takes a free one.  [default: 8080]"),
        click.option("--rules", multiple=True, metavar="PATH", help="A rule file or folder. Repeatable."),
        click.option(
            "--log-format",
            type=click.Choice(["text", "json"]),
            help="Form of log lines and of what is said at the start.",
        ),
        click.option(
            "--insecure",
            is_flag=True,
            default=None,
            help="Listen beyond this machine although no key exists.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("urls", nargs=-1, metavar="[URL]...")
@_listening
@click.option(
    "--workers", type=click.IntRange(1, 64), metavar="N", help="Processes that share the port.  [default: 1]"
)
def serve(urls: tuple[str, ...], **given: Any) -> None:
    """Start the proxy.

    Each URL is an upstream; whether it is Ollama, vLLM or another OpenAI-compatible server is found out by
    asking it. Without any, the rule files' upstreams are used, else OLLAMA_HOST, else this machine's Ollama.
    """
    with reporting():
        settings = _settings(given, upstreams=urls or None)
        upstreams = _check(settings)
    _serve(settings, upstreams, welcome)


@click.command()
@_listening
def demo(**given: Any) -> None:
    """Start the proxy with an embedded demo runtime.

    Nothing else has to be installed. The runtime is a small word table with a real sampler, not a language
    model; it obeys every sampling option, so that you see what Attune does to them.
    """
    with reporting():
        settings = _settings(given, workers=1)
        _check(settings)
    _serve(settings, (DEMO,), demo_welcome, demo=True)


def _settings(given: dict[str, Any], **fixed: Any) -> Settings:
    return from_environment(os.environ, **{**given, "rules": given["rules"] or None, **fixed})


def _check(settings: Settings) -> list[str]:
    """The upstreams' URLs.

    Raises `ConfigurationError` for what would stop the start, before anything is started.
    """
    snapshot = build(RuleFiles([Path(p) for p in settings.rules], builtin=settings.builtin_rules).read())
    named = entries(settings.upstreams) or snapshot.upstreams
    return [entry.url for entry in named or entries([ollama_url(os.environ.get("OLLAMA_HOST", ""))])]


def _serve(settings: Settings, upstreams: Sequence[str], announce: Announce, *, demo: bool = False) -> None:
    """Serve, and end with the server's exit code. Being told to stop is no failure."""
    _try_address(settings.host, settings.port)
    configure(settings.log_format)
    if settings.log_format == "json":
        announce = ready_line
    with reporting():
        try:
            code = run(
                settings, lambda address: click.echo(announce(address, settings, upstreams)), demo=demo
            )
        except KeyboardInterrupt:
            code = 0
    raise click.exceptions.Exit(code)


def _try_address(host: str, port: int) -> None:
    """Ends the command in words when the address cannot be listened on."""
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in places:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as fault:
        why = _WHY_NOT.get(fault.errno or 0, fault.strerror or str(fault))
        click.echo(f"cannot listen on {host} port {port}: {why}", err=True)
        raise click.exceptions.Exit(FAILED) from None
