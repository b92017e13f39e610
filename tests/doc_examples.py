"""The examples of the documentation, each of them what a real proxy before a double of Ollama really answered.

What differs from run to run (hashes, times, ports, paths of this machine) is replaced by a constant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx

from proxy.reload import builtin_dir
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_script import Faults, Script
from tests.running import Attune, attune

URL = "http://127.0.0.1:11434"
WIDTH = 100
ID = "3f1c-example"

RULES = """\
upstreams:
  - {name: gpu-a, url: "http://127.0.0.1:11434"}

profiles:
  - name: house-code
    task: engineering
    parameters: {temperature: 0.2, top_p: 0.8, seed: 1}
    system_prompt: "You write Python."

rules:
  - name: house-limits
    match: {model: "llama3*", task: engineering}
    default: {min_p: 0.05}
    set: {seed: 7}
    clamp: {max_tokens: {max: 4096}}
    append: {stop: ["</answer>"]}
    system_prompt: {append: "Keep it short."}
"""
"""The rule file of all examples."""

HEADERS = {"X-Tuning-Task": "engineering"}
BODY: Mapping[str, Any] = {
    "model": "llama3:8b",
    "messages": [{"role": "user", "content": "Add two numbers."}],
    "temperature": 1.6,
    "top_p": None,
    "seed": 3,
    "mirostat": 2,
    "options": {"num_predict": 9000, "temprature": 0.1},
}
"""The request of the worked example."""

CALLS = (
    "GET /api/v1/upstreams",
    "GET /api/v1/models",
    "GET /api/v1/parameters",
    "GET /api/v1/tasks",
    "GET /api/v1/rules",
    "POST /api/v1/rules/reload",
    "GET /v1/models",
    "GET /v1/models/llama3:8b",
    "GET /livez",
    "GET /readyz",
)
"""Calls without a body whose answers are shown."""


async def examples() -> dict[str, str]:
    """Every example, by its name."""
    async with OllamaDouble() as ollama:
        ollama.models = {"llama3:8b": ollama.models["llama3:8b"]}
        ollama.script = Script(text=["2 and ", "2 is 4."], prompt_tokens=12)
        async with attune((), RULES.replace(URL, ollama.url)) as proxy:
            await proxy.chat(**BODY)  # so that everything has been looked at
            found = {f"example: {call}": await _call(proxy, call) for call in CALLS}
            found["worked example"] = await _worked(proxy)
            found["example: headers"] = await _headers(proxy)
            found["example: answer"] = await _answer(proxy)
            found["example: stream"] = await _stream(proxy)
            found["example: strict"] = await _refused(proxy, headers={**HEADERS, "X-Tuning-Strict": "1"})
            found["example: wrong type"] = await _refused(proxy, temperature="0.5")
            found["example: unknown model"] = await _refused(proxy, model="llama3:80b")
            ollama.faults = Faults(error_line_after=1, error="model runner has unexpectedly stopped")
            found["example: broken stream"] = await _stream(proxy)
    return {name: _constant(text, ollama.url) for name, text in found.items()}


def pretty(value: Any, indent: int = 0) -> str:
    """JSON with line breaks only where a line would become too long."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    pad, end = " " * (indent + 2), " " * indent
    if isinstance(value, dict):
        items = [f"{json.dumps(k)}: {pretty(v, indent + 2)}" for k, v in value.items()]
        return "{\n" + ",\n".join(pad + item for item in items) + f"\n{end}}}"
    return "[\n" + ",\n".join(pad + pretty(item, indent + 2) for item in value) + f"\n{end}]"


def fence(language: str, text: str) -> str:
    return f"```{language}\n{text.strip()}\n```"


def own_headers(answer: httpx.Response) -> str:
    """The response headers that Attune is the author of."""
    shown = {"x-request-id": "X-Request-Id", "retry-after": "Retry-After"}
    lines = []
    for name, value in answer.headers.items():
        if name in shown or name.startswith("x-tuning-"):
            lines.append(f"{shown.get(name, name.title())}: {value}")
    return "\n".join(lines)


def _constant(text: str, url: str) -> str:
    text = text.replace(url, URL).replace(str(builtin_dir()), "/opt/attune/rules")
    text = re.sub(r'"/[^"]*/rules\.yaml"', '"/etc/attune/rules.yaml"', text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "<SHA-256 in hex>", text)
    text = re.sub(r'("created": ?)\d+', r"\g<1>1767225600", text)
    return re.sub(r'"url": "[^"]*"', f'"url": "{URL}"', text)


async def _worked(proxy: Attune) -> str:
    """A rule file, a request, and all that comes of it."""
    asked = {"model": BODY["model"], "headers": HEADERS, "body": BODY}
    reply = await proxy.client.post("/api/v1/explain", json=asked, headers={"X-Request-Id": ID})
    assert reply.status_code == 200, reply.text
    headers = "\n".join(f"{k}: {v}" for k, v in HEADERS.items())
    answer = await _chat(proxy)
    return "\n\n".join(
        [
            "The rule file:",
            fence("yaml", RULES),
            f"The request has the header `{headers}` and this body:",
            fence("json", pretty(BODY)),
            "The decision, as `POST /api/v1/explain` gives it:",
            fence("json", pretty(reply.json())),
            "The answer's headers:",
            fence("http", own_headers(answer)),
        ]
    )


async def _headers(proxy: Attune) -> str:
    return fence("http", own_headers(await _chat(proxy)))


async def _answer(proxy: Attune) -> str:
    return fence("json", pretty((await _chat(proxy)).json()))


async def _stream(proxy: Attune) -> str:
    answer = await _chat(proxy, stream=True)
    return fence("text", answer.text)


async def _refused(proxy: Attune, headers: Mapping[str, str] = HEADERS, **changes: Any) -> str:
    answer = await _chat(proxy, headers, expected=None, **changes)
    return f"Status {answer.status_code}:\n\n" + fence("json", pretty(answer.json()))


async def _chat(
    proxy: Attune, headers: Mapping[str, str] = HEADERS, *, expected: int | None = 200, **changes: Any
) -> httpx.Response:
    answer = await proxy.chat(**{**BODY, **changes}, headers={**headers, "X-Request-Id": ID})
    assert expected in (None, answer.status_code), answer.text
    return answer


async def _call(proxy: Attune, call: str) -> str:
    method, path = call.split()
    reply = await proxy.client.request(method, path)
    assert reply.status_code == 200, reply.text
    return fence("json", pretty(_first(reply.json())))


def _first(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer with the first entry of each long list, so that a page shows its shape and no more."""
    short = {}
    for key, value in answer.items():
        if isinstance(value, list):
            short[key] = value[:1]
        elif isinstance(value, dict) and len(value) > 8:
            short[key] = dict(list(value.items())[:1])
        else:
            short[key] = value
    return short
