"""Pure. What Ollama cannot give: fields it does not take, calls it cannot force, media that a model lacks."""

from __future__ import annotations

from proxy.backends.backend import Plan
from proxy.backends.ollama_messages import Translated
from proxy.backends.ollama_tools import Tools
from proxy.errors import StrictViolation, Unsupported
from proxy.openai.request import ChatRequest
from proxy.parameters.catalog import CANONICAL
from proxy.parameters.client import FIELDS, MOST_HINTS
from proxy.parameters.near import hint

MOST_NAMES, LONGEST_NAME = 16, 60
"""How many names of fields a warning tells, and how many characters of each."""

READ = FIELDS | {
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
}
"""Fields of the client's body that this dialect reads; the others are lost, and that is said."""

BOOKKEEPING = frozenset(
    (
        "user",
        "store",
        "metadata",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
    )
)
"""OpenAI's fields that change no word of an answer: strict requests may lose them."""

NO_SLIPS = BOOKKEEPING | {
    "audio",
    "modalities",
    "prediction",
    "verbosity",
    "web_search_options",
    "return_token_ids",
}
"""OpenAI's and vLLM's own names, which are no misspellings even where they look like a parameter."""


def refuse_media(said: Translated, plan: Plan) -> None:
    """Raise `Unsupported` for media that the model is known not to take; Ollama would fail with a 500."""
    able = plan.capabilities
    if able is None:
        return
    if said.audio and "audio" not in able:
        raise Unsupported(_lack("audio", plan.model, "audio"), param="messages")
    if said.images and "vision" not in able:
        raise Unsupported(_lack("images", plan.model, "vision"), param="messages")
    if said.untold and able.isdisjoint(("vision", "audio")):
        raise Unsupported(_lack("images", plan.model, "vision"), param="messages")


def _lack(media: str, model: str, capability: str) -> str:
    return f"the messages hold {media}, but {model} does not have the capability {capability}"


def refuse_forced(tools: Tools) -> None:
    """Raise `StrictViolation` where a call is asked for: Ollama leaves that to the model."""
    if tools.forced:
        words = f"strict: {tools.forced} asks for a call, but ollama cannot force one: the model decides"
        raise StrictViolation(words, param=tools.forced)


def lost_fields(chat: ChatRequest, strict: bool) -> tuple[str, ...]:
    """Warnings of the fields that are left out: each likely misspelling alone, the others in one.

    Raises `StrictViolation` for the first that is more than bookkeeping, when the request is strict.
    """
    lost = [name for name in chat.fields if name not in READ and chat.raw(name) is not None]
    if strict:
        _refuse_lost([name for name in lost if not _is_harmless(chat, name)])
    unknown = [name for name in lost if name not in NO_SLIPS][:MOST_HINTS]
    slips = {name: found for name in unknown if (found := hint(name, CANONICAL))}
    others = [name for name in lost if name not in slips]
    warnings = tuple(f"{_short(name)}: no such parameter{found}" for name, found in slips.items())
    return (*warnings, _left_out(others)) if others else warnings


def _is_harmless(chat: ChatRequest, name: str) -> bool:
    """Whether an answer without the field is the one that was asked for."""
    if name == "modalities":
        return chat.decode((name,)) == {name: ["text"]}
    return name in BOOKKEEPING


def _refuse_lost(names: list[str]) -> None:
    if not names:
        return
    name = _short(names[0])
    found = "" if names[0] in NO_SLIPS else hint(names[0], CANONICAL)
    words = f"no such parameter{found}" if found else "ollama does not take it"
    raise StrictViolation(f"strict: {name} would be left out: {words}", param=name)


def _left_out(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"ollama does not take {', '.join(map(_short, names[:MOST_NAMES]))}{more}: left out"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
