"""Pure. What Ollama accepts: Go's way of reading JSON, field types, options, capabilities, hosts."""

import base64
import ipaddress
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tests.doubles.ollama_models import Model, canonical, full_name, since

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
ORIGIN = re.compile(r"https?://(localhost|127\.0\.0\.1|0\.0\.0\.0)(:\d+)?|(app|file|tauri|vscode-\w+)://.*")
PICTURE = re.compile(rb"\x89PNG|\xff\xd8\xff|RIFF....WEBP", re.DOTALL)


class Refusal(Exception):
    """An answer other than 200, in the shape of ``{"error": message}``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def keep_alive(value: Any) -> float:
    """Seconds, infinite for ever. Numbers are seconds, strings Go durations."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float("inf") if value < 0 else float(value)
    if not isinstance(value, str):
        raise Refusal(400, f"Unsupported type: '{type(value).__name__}'")
    terms = re.findall(r"(\d+\.?\d*|\.\d+)([^\d.]*)", value)
    if not terms or value.lstrip("+-") != "".join(number + unit for number, unit in terms):
        raise Refusal(400, f'time: invalid duration "{value}"')
    if value.lstrip("+-") == "0":
        return 0.0
    for unit in {unit for _, unit in terms} - UNITS.keys():
        raise Refusal(
            400, f'time: {f"unknown unit {unit!r}" if unit else "missing unit"} in duration "{value}"'
        )
    seconds = sum(float(number) * UNITS[unit] for number, unit in terms)
    return float("inf") if value.startswith("-") and seconds else seconds


def think(value: Any) -> bool | str:
    if not isinstance(value, bool) and value not in ("low", "medium", "high", "max"):
        raise Refusal(400, f"invalid think value: {json.dumps(value)}")
    return bool(value) if isinstance(value, bool) else str(value)


def image(value: Any) -> bytes:
    """Standard base64 with its padding; a data: prefix is no base64."""
    with suppress(ValueError, TypeError):
        return base64.b64decode(re.sub(r"[\r\n]", "", value), validate=True)
    raise Refusal(400, "illegal base64 data at input byte 4")


# A kind is a Go type's name, a checking function, [kind] for a list, {"*": kind} for a map, or a struct's fields.
Kind = Any
GO = {"string": str, "bool": bool, "int": int, "any": object, "map": dict}


def strings(*names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, "string")


PROPERTY = strings("description") | {"type": "any", "items": "any", "enum": ["any"], "required": ["string"]}
PROPERTY |= {"anyOf": [PROPERTY], "properties": {"*": PROPERTY}}
PARAMETERS = strings("type") | {"$defs": "any", "items": "any", "required": ["string"]}
PARAMETERS |= {"properties": {"*": PROPERTY}}
TOOL = strings("type") | {"function": strings("name", "description") | {"parameters": PARAMETERS}}
CALL = strings("id") | {"function": {"index": "int", "name": "string", "arguments": "map"}}
MESSAGE = strings("role", "content", "thinking", "tool_name", "tool_call_id")
MESSAGE |= {"images": [image], "tool_calls": [CALL]}
SHARED = strings("model") | {"options": "map", "keep_alive": keep_alive, "truncate": "bool"}
TURN = SHARED | {"stream": "bool", "format": "any", "think": think, "shift": "bool"}
TURN |= {"logprobs": "bool", "top_logprobs": "int"}
CHAT = TURN | {"messages": [MESSAGE], "tools": [TOOL]}
GENERATE = TURN | strings("prompt", "suffix", "system", "template")
GENERATE |= {"images": [image], "raw": "bool", "context": ["int"]}
EMBED = SHARED | {"input": "any", "dimensions": "int"}
SHOW = strings("model", "name") | {"verbose": "bool"}


def bind(kind: Kind, value: Any, where: str) -> Any:
    """The value as Go's decoder would leave it: keys folded, unknown ones gone. A wrong type is a 400."""
    if value is None:
        return None
    if callable(kind):
        return kind(value)
    if isinstance(kind, list) and isinstance(value, list):
        return [bind(kind[0], item, where) for item in value]
    if isinstance(kind, dict) and isinstance(value, dict):
        names = {name.lower(): name for name in kind}
        folded = [(key if "*" in kind else names.get(key.lower(), ""), item) for key, item in value.items()]
        return {key: bind(kind.get("*") or kind[key], item, f"{where}.{key}") for key, item in folded if key}
    if (
        isinstance(kind, str)
        and isinstance(value, GO[kind])
        and (kind != "int" or not isinstance(value, bool))
    ):
        return value
    label = kind if isinstance(kind, str) else "[]any" if isinstance(kind, list) else "struct"
    found = f"json: cannot unmarshal {type(value).__name__} into Go struct field {where}"
    raise Refusal(400, f"{found} of type {label}")


def _no_constant(text: str) -> None:
    raise ValueError(f"'{text}' is no JSON")


def read(kind: dict[str, Kind], raw: bytes, where: str) -> dict[str, Any]:
    """The first JSON value of a body, bound; what follows it is ignored."""
    text = raw.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise Refusal(400, "missing request body")
    try:
        value, _ = json.JSONDecoder(parse_constant=_no_constant).raw_decode(text)
    except ValueError as error:
        raise Refusal(400, f"invalid character: {error}") from error
    body: dict[str, Any] = bind(kind, value, where) or {}
    if not 0 <= (body.get("top_logprobs") or 0) <= 20:
        raise Refusal(400, "top_logprobs must be between 0 and 20")
    return body


def find(models: Mapping[str, Model], name: str | None, shown: str = "") -> Model:
    """The model of that name in any case, with or without its tag; ``shown`` is how a 404 names it."""
    if not name:
        raise Refusal(400, "model is required")
    if not canonical(name):
        raise Refusal(400, "invalid model name")
    for key, model in models.items():
        if canonical(key) == canonical(name):
            return model
    raise Refusal(404, f"model '{shown or name}' not found")


def texts(given: Any) -> list[str]:
    """The texts to embed; numbers are no text."""
    found = [given] if isinstance(given, str) and given else given or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise Refusal(400, "invalid input type")
    return found


# What the engine uses when nobody says; None where that is the model's or the machine's matter.
FLOATS = {"temperature": 0.8, "top_p": 0.9, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0}
FLOATS |= {"presence_penalty": 0.0, "frequency_penalty": 0.0, "tfs_z": 1.0}
INTEGERS = {"top_k": 40, "repeat_last_n": 64, "seed": -1, "num_predict": -1, "num_keep": 4, "mirostat": 0}
INTEGERS |= {"num_batch": 512, "num_gpu": -1, "num_thread": 0, "draft_num_predict": 0}
UNSET = {"num_ctx": "integer", "main_gpu": "integer", "stop": "array", "use_mmap": "boolean"}
UNSET |= {"mirostat_tau": "float32", "mirostat_eta": "float32", "penalize_newline": "boolean"}
SWITCHES = ("low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock")
KINDS = dict.fromkeys(FLOATS, "float32") | dict.fromkeys(INTEGERS, "integer") | UNSET
KINDS |= dict.fromkeys(SWITCHES, "boolean")
ADDED = {"min_p": "0.3.1", "draft_num_predict": "0.30.0"}
REMOVED = {"tfs_z": "0.5.2", "penalize_newline": "0.5.5"}
REMOVED |= dict.fromkeys(("mirostat", "mirostat_tau", "mirostat_eta", *SWITCHES), "0.7.0")
NUMBERS: dict[str, type] = {"float32": float, "integer": int}


def convert(key: str, value: Any) -> Any:
    """An option's value as Go takes it: a number becomes the option's own kind, any other type is a 500."""
    kind = KINDS[key]
    if kind in NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
        return NUMBERS[kind](value)
    if kind == "array" and isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise Refusal(500, f'option "{key}" must be of an array of strings')
    if not isinstance(value, {"boolean": bool, "array": list}.get(kind, ())):
        raise Refusal(500, f'option "{key}" must be of type {kind}')
    return value


def merge_options(version: str, *layers: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Engine defaults under the given layers, later wins per key; and the keys that this release ignores."""
    known = [key for key in KINDS if since(version, ADDED.get(key, "0.0.1"))]
    gone = [key for key in known if key in REMOVED and since(version, REMOVED[key])]
    merged: dict[str, Any] = {key: (FLOATS | INTEGERS).get(key) for key in known if key not in gone}
    merged["repeat_penalty"] = 1.0 if since(version, "0.32.10") else 1.1
    ignored = []
    for key, value in (pair for layer in layers for pair in layer.items()):
        if key not in merged:
            ignored.append(key)
        elif value is not None:
            merged[key] = convert(key, value)
    return merged, ignored


def effort(model: Model, body: Mapping[str, Any], version: str) -> str | None:
    """How the model thinks: None not at all, "" by its own measure, else a level. 400 if it can't as asked."""
    asked = body.get("think") if since(version, "0.9.0") else False
    if isinstance(asked, str) and not since(version, "0.22.0" if asked == "max" else "0.11.1"):
        raise Refusal(400, f'invalid think value: "{asked}"')
    able = "thinking" in model.capabilities
    if asked and not able:
        raise Refusal(400, f'"{body["model"]}" does not support thinking')
    if model.harmony and since(version, "0.9.0"):
        return {"low": "low", "high": "high", "max": "high"}.get(str(asked), "medium")
    if asked is None:
        return "" if able and since(version, "0.12.4") else None
    return asked if isinstance(asked, str) else "" if asked else None


def check_capabilities(kind: str, model: Model, body: Mapping[str, Any]) -> None:
    if "completion" not in model.capabilities:
        raise Refusal(400, f'"{body["model"]}" does not support {kind}')
    for key, capability in (("tools", "tools"), ("suffix", "insert")):
        if body.get(key) and capability not in model.capabilities:
            raise Refusal(400, f"{full_name(model.name)} does not support {capability}")
    if body.get("raw") and any(body.get(key) for key in ("template", "system", "context")):
        raise Refusal(400, "raw mode does not support template, system, or context")


def check_media(model: Model, body: Mapping[str, Any]) -> None:
    """Media that the model does not take, and a format that is none, fail only in the runner: 500.

    Audio comes in the same field as images; models with either ability are given what is no known picture.
    """
    holders = [body, *(body.get("messages") or [])]
    media = [item for holder in holders for item in holder.get("images") or ()]
    able = {"vision", "audio"}.intersection(model.capabilities)
    if "vision" not in able and any(not able or PICTURE.match(item or b"") for item in media):
        raise nested(500, "image input is not supported", type="server_error")
    if body.get("format") not in (None, "", "json") and not isinstance(body["format"], dict):
        raise Refusal(500, "invalid format")


def nested(code: int, message: str, **more: Any) -> Refusal:
    """llama-server's own error, which Ollama copies whole into its string."""
    return Refusal(
        code, json.dumps({"error": {"code": code, "message": message, **more}}, separators=(",", ":"))
    )


def too_long(tokens: int, context: int) -> Refusal:
    message = (
        f"request ({tokens} tokens) exceeds the available context size ({context} tokens), try increasing it"
    )
    return nested(400, message, type="exceed_context_size_error", n_prompt_tokens=tokens, n_ctx=context)


def local(host: str | None, origin: str | None) -> bool:
    """Whether Host and Origin are such that a server bound to loopback answers."""
    name = re.sub(r":\d+$", "", host or "").strip("[]").lower()
    known = name in ("", "localhost") or name.endswith((".localhost", ".local", ".internal"))
    with suppress(ValueError):
        address = ipaddress.ip_address(name)
        known = address.is_loopback or address.is_private or address.is_unspecified
    return known and bool(not origin or ORIGIN.fullmatch(origin))
