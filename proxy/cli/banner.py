"""Pure. What a started proxy says of itself: for people, or for machines as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from proxy import __version__
from proxy.settings import Settings

Announce = Callable[[str, Settings, Sequence[str]], str]
"""The words for an address that is ready, and the upstreams behind it."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""Addresses that mean all of a machine's, and where the machine reaches itself then."""


def welcome(address: str, settings: Settings, upstreams: Sequence[str]) -> str:
    """What a started proxy says. Only a very long address makes a line wider than 79 columns."""
    local = _local(address)
    places = ("\n" + " " * 15).join(upstreams)
    return f"""\
Attune {__version__} listens on {address}

  clients      base_url="{local}/v1"
               api_key: {"your key" if _keyed(settings) else "any text"}
  upstreams    {places}
  decisions    in each answer's X-Tuning-* headers; also in its body with the
               request header X-Tuning-Explain: 1; without sending a request:
               attune explain --model MODEL \\
                 --url {local}
  stop         Ctrl+C
"""


def demo_welcome(address: str, settings: Settings, _: Sequence[str]) -> str:
    """What a started demo says: how to send a first request. As narrow as `welcome`."""
    local = _local(address)
    keyed = _keyed(settings)
    key = "\n    -H 'Authorization: Bearer YOUR-KEY' \\" if keyed else ""
    return f"""\
Attune {__version__} DEMO listens on {address}

Behind it is a demo runtime: a small word table with a real sampler,
not a real language model. A first request; the X-Tuning-Changed header and
"tuning" in the answer say what Attune made of it:

  curl -i {local}/v1/chat/completions \\{key}
    -H 'Content-Type: application/json' -H 'X-Tuning-Explain: 1' \\
    -d '{{"model": "demo", "temperature": 1.2, "top_p": 1.5, "min_tokens": 9,
         "messages": [{{"role": "user", "content": "Hello"}}]}}'

From Python, with the openai package:

  from openai import OpenAI
  client = OpenAI(api_key="{"YOUR-KEY" if keyed else "unused"}",
                  base_url="{local}/v1")
  messages = [{{"role": "user", "content": "Hello"}}]
  stream = client.chat.completions.create(
      model="demo", stream=True, messages=messages)
  for chunk in stream:
      print(chunk.choices[0].delta.content or "", end="", flush=True)

Ctrl+C stops it.
"""


def ready_line(address: str, _: Settings, upstreams: Sequence[str]) -> str:
    """`{"event": "ready", "url", "upstreams": [URL, ...]}` on one line; the demo's upstream is `demo`."""
    return json.dumps({"event": "ready", "url": _local(address), "upstreams": list(upstreams)})


def _keyed(settings: Settings) -> bool:
    return bool(settings.admin_key or settings.admin_key_file)


def _local(address: str) -> str:
    """The address as this machine's own clients may use it."""
    for everywhere, here in _EVERYWHERE.items():
        address = address.replace(f"//{everywhere}:", f"//{here}:")
    return address
