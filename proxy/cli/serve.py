"""I/O. `attune serve` and `attune demo`: the proxy until it is told to stop."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from proxy import __version__
from proxy.app import entries
from proxy.cli.output import FAILED, reporting
from proxy.reload import RuleFiles
from proxy.server import run
from proxy.settings import Settings, from_environment
from proxy.snapshot import build
from proxy.telemetry.log import configure

Announce = Callable[[str, Settings], str]
"""The words for an address that is ready."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

PORT = click.IntRange(0, 65535)

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""Addresses that mean all of a machine's, and where the machine reaches itself then."""

_WHY_NOT = {
    errno.EADDRINUSE: "the port is in use; choose another with --port",
    errno.EACCES: "ports this low need more rights; choose another with --port",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
}


def _listening(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that both commands share. None has a default: what is not given, `ATTUNE_*` may say."""
    options = (
        click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]"),
        click.option(
            "--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: 8080]"
        ),
        click.option("--rules", multiple=True, metavar="PATH", help="A rule file or folder. Repeatable."),
        click.option("--log-format", type=click.Choice(["text", "json"]), help="Form of log lines."),
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
        _check(settings)
    _serve(settings, welcome)


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
    _serve(settings, demo_welcome, demo=True)


def welcome(address: str, settings: Settings) -> str:
    """What a started proxy says."""
    local = _local(address)
    upstreams = ", ".join(settings.upstreams) or "those of the rule files, else OLLAMA_HOST"
    return f"""\
Attune {__version__} listens on {address}

  clients      base_url="{local}/v1", api_key: {"your key" if _keyed(settings) else "any text"}
  upstreams    {upstreams}
  decisions    in each answer's X-Tuning-* headers; with the request header X-Tuning-Explain: 1
               also in its body; for a request that is not sent:
               attune explain --url {local} --model MODEL
  stop         Ctrl+C
"""


def demo_welcome(address: str, settings: Settings) -> str:
    """What a started demo says: how to send a first request."""
    local = _local(address)
    keyed = _keyed(settings)
    key = "\n    -H 'Authorization: Bearer YOUR-KEY' \\" if keyed else ""
    return f"""\
Attune {__version__} DEMO listens on {address}

Behind it is a demo runtime: a small word table with a real sampler, not a real language model.
A first request; the X-Tuning-Changed header and "tuning" in the answer say what Attune made of it:

  curl -i {local}/v1/chat/completions \\{key}
    -H 'Content-Type: application/json' -H 'X-Tuning-Explain: 1' \\
    -d '{{"model": "demo", "temperature": 1.2, "top_p": 1.5, "min_tokens": 9,
         "messages": [{{"role": "user", "content": "Hello"}}]}}'

From Python, with the openai package:

  from openai import OpenAI
  client = OpenAI(base_url="{local}/v1", api_key="{"YOUR-KEY" if keyed else "unused"}")
  stream = client.chat.completions.create(
      model="demo", stream=True, messages=[{{"role": "user", "content": "Hello"}}])
  for chunk in stream: print(chunk.choices[0].delta.content or "", end="", flush=True)

Ctrl+C stops it.
"""


def _keyed(settings: Settings) -> bool:
    return bool(settings.admin_key or settings.admin_key_file)


def _settings(given: dict[str, Any], **fixed: Any) -> Settings:
    return from_environment(os.environ, **{**given, "rules": given["rules"] or None, **fixed})


def _check(settings: Settings) -> None:
    """Raises `ConfigurationError` for what would stop the start, before anything is started."""
    build(RuleFiles([Path(p) for p in settings.rules], builtin=settings.builtin_rules).read())
    entries(settings.upstreams)


def _serve(settings: Settings, announce: Announce, *, demo: bool = False) -> None:
    """Serve, and end with the server's exit code. Being told to stop is no failure."""
    _try_address(settings.host, settings.port)
    configure(settings.log_format)
    with reporting():
        try:
            code = run(settings, lambda address: click.echo(announce(address, settings)), demo=demo)
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


def _local(address: str) -> str:
    """The address as this machine's own clients may use it."""
    for everywhere, here in _EVERYWHERE.items():
        address = address.replace(f"//{everywhere}:", f"//{here}:")
    return address
