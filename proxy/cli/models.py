"""I/O. `attune models`: what each upstream serves."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import Any

import click
import httpx

from proxy.app import App
from proxy.cli.client import DEFAULT_URL, ProxyClient, key_option
from proxy.cli.output import FAILED, console, draw, print_json, reporting
from proxy.cli.tables import models_table
from proxy.errors import NoHealthyUpstream
from proxy.settings import from_environment

MODELS = "/api/v1/models"
UPSTREAMS = "/api/v1/upstreams"

LONGEST_LOOK = 30.0
"""Seconds that looking at upstreams may take."""


@click.command()
@click.argument("upstreams", nargs=-1, metavar="[URL]...")
@click.option("--url", metavar="URL", default=DEFAULT_URL, envvar="ATTUNE_URL", show_default=True,
              show_envvar=True, help="The running proxy.")  # fmt: skip
@key_option
@click.option("--json", "as_json", is_flag=True, help="The models as the API gives them.")
def models(upstreams: tuple[str, ...], url: str, key: str | None, as_json: bool) -> None:
    """Show what each upstream serves.

    Asks the running proxy for its upstreams; with URLs it looks at those upstreams itself and needs no proxy.
    """
    with reporting(as_json=as_json):
        found, places = asyncio.run(_look(upstreams)) if upstreams else _ask(ProxyClient(url, key))
    if as_json:
        print_json(found)
    elif found["models"]:
        screen = console()
        draw(models_table(found["models"], screen.width), screen=screen)
    else:
        click.echo("no upstream lists a model")
    _say_who_is_silent(places)
    if places and not any(place["healthy"] for place in places):
        raise click.exceptions.Exit(FAILED)


def _ask(client: ProxyClient) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The models and the upstreams of a running proxy."""
    return client.get(MODELS), client.get(UPSTREAMS)["upstreams"]


async def _look(urls: tuple[str, ...]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same, from a proxy that exists for this one question and listens nowhere."""
    # what it would log is said below the table
    logging.getLogger("attune").addHandler(logging.NullHandler())
    app = App(from_environment({}, upstreams=urls), os.environ)
    await app.start()
    try:
        async with asyncio.timeout(LONGEST_LOOK):
            await asyncio.gather(*(upstream.looked.wait() for upstream in app.fleet.upstreams.values()))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://attune") as client:
            found = (await client.get(MODELS)).json()
            places = (await client.get(UPSTREAMS)).json()["upstreams"]
            return found, places
    except TimeoutError:
        raise NoHealthyUpstream(f"looking at the upstreams took longer than {LONGEST_LOOK:g} s") from None
    finally:
        await app.stop()


def _say_who_is_silent(places: Sequence[dict[str, Any]]) -> None:
    for place in places:
        if not place["healthy"]:
            reason = f": {place['error']}" if place["error"] else " so far"
            click.echo(f"{place['name']} ({place['url']}) has not answered{reason}", err=True)
