"""I/O. `attune explain`: the decision for a request that is never sent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click
import orjson

from proxy import offline
from proxy.api.edge import load_object, request_id
from proxy.api.naming import name
from proxy.cli.client import ProxyClient, key_option
from proxy.cli.output import FAILED, console, draw, print_json, reporting
from proxy.cli.tables import decision_table, layers_json, layers_table
from proxy.decider import Decider, Incoming
from proxy.decision import PROFILE_HEADER, TASK_HEADER, Caller, Policy
from proxy.errors import RejectedByRule
from proxy.openai.request import NO_MESSAGES, parse_chat
from proxy.parameters.catalog import CANONICAL, CATALOG
from proxy.reload import RuleFiles
from proxy.settings import from_environment
from proxy.snapshot import Snapshot, build


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    model: str | None
    task: str | None
    profile: str | None
    header: tuple[tuple[str, str], ...]
    set_: tuple[tuple[str, Any], ...]
    runtime: str | None
    body: IO[bytes] | None
    rules: tuple[str, ...]
    stream: bool
    as_json: bool
    url: str | None
    key: str | None

    def question(self) -> dict[str, Any]:
        """The request in the words of `POST /api/v1/explain`."""
        body = load_object(self.body.read()) if self.body is not None else {}
        body |= dict(self.set_)
        if self.stream:
            body["stream"] = True
        headers = dict(self.header)
        for header, value in ((PROFILE_HEADER, self.profile), (TASK_HEADER, self.task)):
            if value is not None:
                headers[header] = value
        return {"model": self.model, "headers": headers, "body": body}


def _header(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """`K=V`, or `K: V` as headers are written."""
    found = []
    for text in given:
        end = min((i for i in (text.find("="), text.find(":")) if i > 0), default=0)
        if not end or not text.isascii() or not text.isprintable():
            raise click.BadParameter(f"{text!r} is no NAME=VALUE in printable ASCII")
        found.append((text[:end].strip().lower(), text[end + 1 :].strip()))
    return tuple(found)


def _value(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """`name=value`; a value that is no JSON is a text."""
    found: list[tuple[str, Any]] = []
    for text in given:
        field, equals, value = text.partition("=")
        if not equals or not field.strip():
            raise click.BadParameter(f"{text!r} is no NAME=VALUE")
        field = field.strip()
        try:
            found.append((field, orjson.loads(value)))
        except orjson.JSONDecodeError:
            numeric = _numeric(field) and "_" not in value
            found.append((field, _number(value) if numeric else value))
    return tuple(found)


def _number(text: str) -> int | float | str:
    """A number as people write it (`.5`, `5.`, `+3`), which JSON does not know; else the text."""
    for kind in (int, float):
        try:
            # by way of JSON, so that a number is the same in either spelling; infinity is none there
            return orjson.loads(repr(kind(text)))  # type: ignore[no-any-return]
        except ValueError:
            continue
    return text


def _numeric(field: str) -> bool:
    """Whether a field is a parameter that takes numbers."""
    name = CANONICAL.get(field)
    if name is None:
        return False
    parameter = CATALOG[name]
    return parameter.type in ("int", "float") or any(type(option) is int for option in parameter.options)


@click.command()
@click.option("--model", "-m", help="The model that the client asks for.")
@click.option("--task", help="As X-Tuning-Task names it.")
@click.option("--profile", help="As X-Tuning-Profile names it.")
@click.option(
    "--header", multiple=True, metavar="K=V", callback=_header, help="A request header. Repeatable."
)
@click.option(
    "--set", "set_", multiple=True, metavar="NAME=VALUE", callback=_value,
    help="A field of the request, the value as JSON or else as text. Repeatable.",
)  # fmt: skip
@click.option(
    "--runtime", type=click.Choice(["ollama", "vllm", "openai"]),
    help="Decide for this runtime instead of the one that the rule files declare.",
)  # fmt: skip
@click.option("--body", type=click.File("rb"), help="The request's JSON body; - reads standard input.")
@click.option("--rules", multiple=True, metavar="PATH", help="A rule file or folder. Repeatable.")
@click.option("--stream", is_flag=True, help="The client streams.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: the decision as the API gives it.")
@click.option("--url", metavar="URL", help="Ask a running proxy, which knows its upstreams.")
@key_option
@click.option("--layers", is_flag=True, help="Print which layer wins, and exit.")
def explain(layers: bool, **given: Any) -> None:
    """Show what a request would get, without sending it.

    Works from rule files alone. Only a running proxy (--url) knows what upstreams say of themselves: their
    versions, their models' context and defaults.
    """
    options = Options(**given)
    if layers:
        _say_layers(as_json=options.as_json)
        return
    if options.url is not None and (options.rules or options.runtime):
        raise click.UsageError("a running proxy (--url) has its own rule files and runtimes")
    with reporting(as_json=options.as_json):
        assumed = False
        if options.url is not None:
            decision = ProxyClient(options.url, options.key).post("/api/v1/explain", options.question())
        else:
            decision, assumed = _offline(options)
    if options.as_json:
        print_json(decision)
        return
    screen = console()
    draw(*decision_table(decision, width=screen.width, assumed=assumed), screen=screen)


def _say_layers(*, as_json: bool) -> None:
    if as_json:
        print_json(layers_json())
        return
    screen = console()
    draw(*layers_table(screen.width), screen=screen)


def _offline(options: Options) -> tuple[dict[str, Any], bool]:
    """The decision from rule files, and whether its runtime is only assumed."""
    settings = from_environment(os.environ, rules=options.rules or None)
    snapshot = build(RuleFiles([Path(p) for p in settings.rules], builtin=settings.builtin_rules).read())
    scene = offline.Scene(snapshot.upstreams, options.runtime, settings.num_ctx)
    question = options.question()
    headers = {k.encode(): v.encode() for k, v in question["headers"].items()}
    body = {"messages": NO_MESSAGES, **question["body"]}
    if options.model is not None:
        body["model"] = options.model
    chat = parse_chat(orjson.dumps(body))
    caller = Caller()
    named = name(chat.model, question["headers"], snapshot, caller, scene.serves)
    rid = request_id(headers)
    incoming = Incoming(chat, named.model, named.asked, named.profile, headers, caller, rid)
    decider = Decider(Policy(settings.vendor_defaults, settings.protected == "drop"))
    try:
        written = offline.explain(snapshot, incoming, decider, scene)
    except RejectedByRule as refusal:
        _say_rejected(refusal, snapshot, as_json=options.as_json)
        raise click.exceptions.Exit(FAILED) from None
    return written.explanation(rid), not scene.declares(written.prepared.decision.target)


def _say_rejected(refusal: RejectedByRule, snapshot: Snapshot, *, as_json: bool) -> None:
    """Which rule refused, and which others matched."""
    if as_json:
        print_json({**refusal.body(), "rules": list(refusal.rules)})
        return
    rejecting = {rule.name for rule, _ in snapshot.rules if rule.reject is not None}
    by = [name for name in refusal.rules if name in rejecting][-1:]
    who = f"rule {by[0]}" if by else "a rule"
    others = f" (matched: {', '.join(refusal.rules)})" if len(refusal.rules) > 1 else ""
    click.echo(f"{who} rejects with {refusal.status}: {refusal.message}{others}", err=True)
