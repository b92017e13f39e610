"""Pure. OpenAI's message list as Ollama's native one.

Most messages are the same in both: those keep their bytes and are not looked into. The others are read, and
what Ollama has no place for is either refused or named in a warning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import orjson

from proxy.backends.losses import Losses, wrong
from proxy.backends.ollama_parts import Kind, read_content, standard_base64
from proxy.backends.ollama_tools import Tools, translate_tools
from proxy.errors import BadBody, Unsupported

__all__ = ["Tools", "Translated", "translate_messages", "translate_tools"]

ROLES = {"developer": "system", "function": "tool"}
"""OpenAI's roles that Ollama's templates do not know -> the nearest that they do."""

KNOWN_ROLES = ("system", "user", "assistant", "tool")

REASONING = ("reasoning_content", "reasoning", "thinking")
"""Spellings of an assistant's earlier reasoning; the first that says something is sent."""

UNREADABLE = "_raw"
"""The key under which call arguments travel that are no JSON object."""

_SHARED = frozenset(("role", "content", "images"))
_READ = {
    "assistant": _SHARED | {"tool_calls", "function_call", "refusal"},
    "tool": _SHARED | {"name", "tool_name", "tool_call_id"},
}


@dataclass(frozen=True, slots=True)
class Translated:
    """A native message list."""

    body: bytes
    """The JSON array."""
    warnings: tuple[str, ...]
    """What was lost, with its path."""
    images: bool = False
    """Whether images travel along, which only some models take."""
    audio: bool = False
    """Whether audio travels along, in the same field."""
    untold: bool = False
    """Whether media travel along that came in Ollama's own `images`, which does not tell their kind."""


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message that is the same in both dialects, if its content is a string."""

    role: Literal["system", "user", "assistant"]
    content: msgspec.Raw


_PLAIN = msgspec.json.Decoder(_Plain)
_PLAINS = msgspec.json.Decoder(list[_Plain])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])

_QUOTE = ord('"')


def translate_messages(messages: bytes) -> Translated:
    """The native list for a JSON array of objects that each have a string `role`.

    Raises `BadBody` for wrong shapes and `Unsupported` for what Ollama cannot be given, naming the path.
    """
    try:
        if all(memoryview(plain.content)[0] == _QUOTE for plain in _PLAINS.decode(messages)):
            return Translated(messages, ())
    except (msgspec.DecodeError, RecursionError):
        pass
    return _Translation().run(messages)


def _is_plain(message: bytes | msgspec.Raw) -> bool:
    try:
        return memoryview(_PLAIN.decode(message).content)[0] == _QUOTE
    except (msgspec.DecodeError, RecursionError):
        return False


class _Translation:
    """One list on its way: its losses, and the names of calls that tool messages refer to."""

    def __init__(self) -> None:
        self._losses = Losses()
        self._names: dict[str, str] = {}
        self._kinds: set[Kind] = set()
        self._untold = False

    def run(self, messages: bytes) -> Translated:
        try:
            items = _ITEMS.decode(messages)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadBody(f"messages cannot be read: {error}", param="messages") from error
        written = [
            item if _is_plain(item) else self._rewrite(item, f"messages[{index}]")
            for index, item in enumerate(items)
        ]
        body = b"[" + b",".join(written) + b"]"
        kinds = self._kinds
        return Translated(body, self._losses.lines(), "image" in kinds, "audio" in kinds, self._untold)

    def _rewrite(self, item: msgspec.Raw, path: str) -> bytes:
        try:
            message = orjson.loads(bytes(item))
        except orjson.JSONDecodeError as error:
            raise BadBody(f"{path} cannot be read: {error}", param=path) from error
        if not isinstance(message, dict):
            raise wrong(path, "an object", message)
        try:
            return orjson.dumps(self._message(message, path))
        except orjson.JSONEncodeError as error:
            raise BadBody(f"{path} is nested too deeply", param=path) from error

    def _message(self, message: dict[str, Any], path: str) -> dict[str, Any]:
        asked = message.get("role")
        if not isinstance(asked, str):
            raise wrong(f"{path}.role", "a string", asked)
        role = ROLES.get(asked.lower(), asked.lower())
        if role not in KNOWN_ROLES:
            self._losses.note(f"{path}.role", "not a role that templates are known to read, sent as it is")
        content, media = read_content(message.get("content"), f"{path}.content", self._losses)
        own = _own_images(message.get("images"), f"{path}.images")
        self._kinds.update(kind for kind, _ in media)
        self._untold = self._untold or bool(own)
        native: dict[str, Any] = {"role": role, "content": content}
        self._put_images(native, [data for _, data in media] + own, path)
        read = _READ.get(role, _SHARED)
        if role == "assistant":
            read |= self._put_thinking(native, message, path)
            self._put_refusal(native, message.get("refusal"), f"{path}.refusal")
            self._put_calls(native, message, path)
        elif role == "tool":
            self._put_origin(native, message, path)
        self._losses.note_unread(path, message, read)
        return native

    def _put_images(self, native: dict[str, Any], images: list[str], path: str) -> None:
        if not images:
            return
        native["images"] = images
        if native["role"] != "user":
            self._losses.note(path, "images outside a user message may not be read, sent all the same")

    def _put_thinking(self, native: dict[str, Any], message: dict[str, Any], path: str) -> set[str]:
        """Earlier reasoning; tells which keys have been dealt with. Its shape is nobody's standard, so what
        is no string is left to be reported, not refused."""
        said = {key: message[key] for key in REASONING if key in message and isinstance(message[key], str)}
        for key, words in said.items():
            if words and native.setdefault("thinking", words) != words:
                self._losses.note(f"{path}.{key}", "differs from the reasoning that is sent, left out")
        return set(said)

    def _put_refusal(self, native: dict[str, Any], refusal: Any, path: str) -> None:
        """A refusal is all that the model said, unless there is content as well."""
        if refusal is not None and not isinstance(refusal, str):
            raise wrong(path, "a string or null", refusal)
        if refusal and native["content"]:
            self._losses.note(path, "ollama has no such field, lost")
        elif refusal:
            native["content"] = refusal

    def _put_calls(self, native: dict[str, Any], message: dict[str, Any], path: str) -> None:
        calls, old = message.get("tool_calls"), message.get("function_call")
        if calls is not None and not isinstance(calls, list):
            raise wrong(f"{path}.tool_calls", "a list or null", calls)
        if calls:
            places = [(call, f"{path}.tool_calls[{index}]") for index, call in enumerate(calls)]
            native["tool_calls"] = [self._call(call, place) for call, place in places]
        if old is None:
            return
        if calls:
            self._losses.note(f"{path}.function_call", "tool_calls are there too, left out")
        else:
            native["tool_calls"] = [{"function": self._function(old, f"{path}.function_call")}]

    def _call(self, call: Any, path: str) -> dict[str, Any]:
        if not isinstance(call, dict):
            raise wrong(path, "an object", call)
        if call.get("type") not in (None, "function"):
            raise Unsupported(f"{path}.type: Ollama knows calls of functions only", param=f"{path}.type")
        self._losses.note_unread(path, call, frozenset(("id", "type", "index", "function")))
        function = self._function(call.get("function"), f"{path}.function")
        name = call.get("id")
        if name is None:
            return {"function": function}
        if not isinstance(name, str):
            raise wrong(f"{path}.id", "a string", name)
        self._names[name] = function["name"]
        return {"id": name, "function": function}

    def _function(self, function: Any, path: str) -> dict[str, Any]:
        if not isinstance(function, dict):
            raise wrong(path, "an object with name and arguments", function)
        if not isinstance(function.get("name"), str):
            raise wrong(f"{path}.name", "a string", function.get("name"))
        self._losses.note_unread(path, function, frozenset(("name", "arguments")))
        arguments = self._arguments(function.get("arguments"), f"{path}.arguments")
        return {"name": function["name"], "arguments": arguments}

    def _arguments(self, arguments: Any, path: str) -> Any:
        """An object, which Ollama insists on, from the JSON text that OpenAI has.

        What is no object is wrapped, not refused: the model wrote it, the client only repeats it, mostly
        followed by a tool message that tells the model so. A 400 would end such a conversation for good.
        """
        if isinstance(arguments, dict):
            return arguments
        if arguments is not None and not isinstance(arguments, str):
            raise wrong(path, "a string of JSON", arguments)
        words = (arguments or "").strip()
        if words in ("", "null"):
            return {}
        try:
            is_object = isinstance(orjson.loads(words), dict)
        except orjson.JSONDecodeError:
            is_object = False
        if is_object:
            return orjson.Fragment(words)  # the same digits and escapes as the model wrote them
        self._losses.note(path, f'no JSON object, sent as {{"{UNREADABLE}": "..."}}')
        return {UNREADABLE: arguments}

    def _put_origin(self, native: dict[str, Any], message: dict[str, Any], path: str) -> None:
        """Which call a result belongs to: templates read the id or the name, so both are sent."""
        for key in ("tool_call_id", "tool_name", "name"):
            if not isinstance(message.get(key), str | None):
                raise wrong(f"{path}.{key}", "a string", message[key])
        origin = message.get("tool_call_id")
        name = message.get("tool_name") or message.get("name") or self._names.get(origin or "")
        if name:
            native["tool_name"] = name
        else:
            self._losses.note(path, "no earlier call has this id, sent without the name of its tool")
        if origin:
            native["tool_call_id"] = origin


def _own_images(images: Any, path: str) -> list[str]:
    """Ollama's own field, for clients that use it on OpenAI's endpoint."""
    if images is None:
        return []
    if not isinstance(images, list):
        raise wrong(path, "a list of base64 strings", images)
    return [standard_base64(image, f"{path}[{index}]") for index, image in enumerate(images)]
