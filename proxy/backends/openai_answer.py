"""Pure. A whole answer from a server that speaks OpenAI's protocol: checked, and changed only where it must.

Values keep their bytes: what is changed is put together again from raw JSON, never re-encoded.
"""

from __future__ import annotations

import re

import msgspec
import orjson

from proxy.backends.answer import Answer
from proxy.backends.failure import holds_error, read_json, reported
from proxy.errors import UpstreamBroken

# vLLM up to 0.10 says `reasoning_content`, since 0.16 `reasoning`; clients look for one or the other.
_TWINS = (("reasoning", "reasoning_content"), ("reasoning_content", "reasoning"))
_REASONING = re.compile(rb'"reasoning(?:_content)?"\s*:\s*"')

_ABSENT = msgspec.Raw()


class _Body(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    model: msgspec.Raw = _ABSENT


_BODY = msgspec.json.Decoder(_Body)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def complete(body: bytes, answer: Answer) -> bytes:
    """The answer under the client's model name, with both names of the reasoning, and `tuning` if asked for.

    Raises `UpstreamBroken` for what is no JSON object with a list of `choices`, and `UpstreamRefused` for
    an error object under status 200.
    """
    head = _checked(body)
    name = orjson.dumps(answer.model)
    body = rewritten(body, None if bytes(head.model) in (b"", name) else name, "message")
    return body if answer.tuning is None else with_tuning(body, answer.tuning)


def rewritten(body: bytes, model: bytes | None, part: str) -> bytes:
    """The object with `model` (JSON) as its model if given, and the reasoning under both of its names.

    `part` is where a choice keeps its message: `message` or `delta`. The very same bytes if there is
    nothing to change.
    """
    mirror = _has_reasoning(body)
    if model is None and not mirror:
        return body
    try:
        fields = _FIELDS.decode(body)
    except (ValueError, RecursionError):
        # Half a surrogate pair, or nested very deeply: valid, but beyond this decoder. Better as it is.
        return body
    choices = _mirrored(fields["choices"], part) if mirror and "choices" in fields else None
    if choices is not None:
        fields["choices"] = choices
    elif model is None:
        return body
    if model is not None:
        fields["model"] = msgspec.Raw(model)
    return _ENCODER.encode(fields)


def with_tuning(body: bytes, tuning: bytes) -> bytes:
    """The object with `tuning` (JSON) as its first key."""
    rest = body.lstrip()[1:].lstrip()
    return b'{"tuning":' + tuning + (b"" if rest.startswith(b"}") else b",") + rest


def _checked(body: bytes) -> _Body:
    """The fields that matter here; raises for what is no answer."""
    try:
        if not body.isascii():
            body.decode()
        head = _BODY.decode(body)
    except (ValueError, RecursionError):
        head = _by_hand(body)
    if b'"error"' in body and _is_error(body):
        raise reported(body)
    if head.choices is None:
        raise UpstreamBroken("the upstream's answer has no list of choices")
    return head


def _is_error(body: bytes) -> bool:
    try:
        return holds_error(read_json(body))
    except ValueError:
        return False


def _by_hand(body: bytes) -> _Body:
    """For what the fast decoder refuses: half a surrogate pair is fine, wrong shapes are not."""
    try:
        whole = read_json(body)
    except ValueError:
        raise UpstreamBroken("the upstream's answer is not JSON") from None
    if not isinstance(whole, dict):
        raise UpstreamBroken("the upstream's answer is not a JSON object")
    return _Body(choices=[] if isinstance(whole.get("choices"), list) else None)


def _has_reasoning(body: bytes) -> bool:
    # vLLM writes `"reasoning":null` into every message; searching with the expression alone is slow.
    start = body.find(b'"reasoning')
    while start >= 0:
        if _REASONING.match(body, start):
            return True
        start = body.find(b'"reasoning', start + 1)
    return False


def _mirrored(choices: msgspec.Raw, part: str) -> msgspec.Raw | None:
    """The list of choices with both names, or `None` if none lacked one."""
    try:
        items = _ITEMS.decode(choices)
    except (ValueError, RecursionError):
        return None
    new = [_mirrored_choice(item, part) for item in items]
    if not any(new):
        return None
    return msgspec.Raw(_ENCODER.encode([msgspec.Raw(n) if n else i for n, i in zip(new, items, strict=True)]))


def _mirrored_choice(item: msgspec.Raw, part: str) -> bytes | None:
    try:
        choice = _FIELDS.decode(item)
        message = _FIELDS.decode(choice[part])
    except (ValueError, KeyError, RecursionError):
        return None
    for name, twin in _TWINS:
        text = message.get(name, _ABSENT)
        if twin not in message and bytes(text).startswith(b'"'):
            message[twin] = text
            choice[part] = msgspec.Raw(_ENCODER.encode(message))
            return _ENCODER.encode(choice)
    return None
