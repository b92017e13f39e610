"""OpenAI's messages and tools, and what our translation makes of them."""

import base64
import json
from typing import Any

import orjson

from proxy.backends.ollama_messages import Tools, Translated, translate_messages, translate_tools

PIXEL = base64.b64encode(bytes(range(250, 256)) * 7 + b"!").decode()
URL = f"data:image/png;base64,{PIXEL}"


def translate(*messages: Any) -> Translated:
    return translate_messages(json.dumps(messages).encode())


def native(*messages: Any) -> list[dict[str, Any]]:
    """The native list of messages that lose nothing."""
    done = translate(*messages)
    assert done.warnings == ()
    return orjson.loads(done.body)


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def call(arguments: Any = "{}", id: str | None = "call_1", name: str = "f") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def assistant(**more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, **more}


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
EMPTY_SCHEMA = {"type": "object", "properties": {}}


def tool(name: str = "f", parameters: Any = SCHEMA, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def dump(value: Any) -> bytes | None:
    return None if value is None else json.dumps(value).encode()


def offer(tools: Any = None, choice: Any = None, functions: Any = None, function_call: Any = None) -> Tools:
    return translate_tools(dump(tools), dump(choice), dump(functions), dump(function_call))
