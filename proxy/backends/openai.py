"""Pure. Any OpenAI-compatible server: OpenAI's names, everything else as the client, family or rule says it.

Also the base of vLLM's dialect: both speak OpenAI's own wire format, so bodies pass as bytes and only
parameters are rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import orjson

from proxy.backends.answer import Answer, Translator
from proxy.backends.backend import Case, Draft, Limit, Plan, Translation, UpstreamRequest
from proxy.backends.openai_answer import complete
from proxy.backends.sse_stream import EventStream
from proxy.openai.request import ChatRequest
from proxy.parameters.catalog import CATALOG
from proxy.parameters.client import FIELDS
from proxy.parameters.families import Thinking
from proxy.parameters.resolution import Resolution
from proxy.parameters.thinking import EFFORTS, level

CHAT_PATH = "/v1/chat/completions"

RENAMED = {"format": "response_format", "num_predict": "max_tokens", "max_output_tokens": "max_tokens"}
"""Spellings that clients may use and no OpenAI-compatible chat endpoint knows."""

COMMON = "enable_thinking"
"""The template argument that most families switch thinking by."""

WORDS = tuple(word for word in EFFORTS if word != "ultra")
"""The effort levels that servers are known to take; `ultra` is a word of Ollama's own OpenAI endpoint."""

_encode = msgspec.json.Encoder().encode


class OpenAIBackend:
    """A server of which only the wire format is known."""

    runtime = "openai"

    def limits(self, case: Case) -> Iterable[Limit]:
        """OpenAI's own ranges are not those of every server: none."""
        return ()

    def item_limits(self, case: Case) -> Iterable[tuple[str, int, str]]:
        """None."""
        return ()

    def translate(self, resolution: Resolution, case: Case) -> Translation:
        """The client's spelling where it named one, else Attune's name."""
        draft = Draft(resolution, case.target)
        for name, decided in draft.pending():
            if CATALOG[name].when == "load":
                draft.drop(name, "a load-time option; an OpenAI-compatible server takes none")
            elif name not in ("think", "chat_template_kwargs"):
                spelling = CATALOG[name].as_spelled(case.spelled)
                draft.put(name, RENAMED.get(spelling, spelling), decided.value)
        template_arguments(draft, case)
        return draft.done()

    def write(self, chat: ChatRequest, plan: Plan, messages: bytes | None) -> UpstreamRequest:
        """The client's body with its parameters taken out and the resolved ones put in."""
        fields = {name: raw for name, raw in chat.fields.items() if name not in FIELDS}
        fields.pop("model", None)
        if messages is not None:
            fields["messages"] = msgspec.Raw(messages)
        head = b'{"model":' + orjson.dumps(plan.model) + b","
        if plan.fragment:
            head += plan.fragment + b","
        return UpstreamRequest(CHAT_PATH, head + _encode(fields)[1:])

    def complete(self, body: bytes, answer: Answer) -> bytes:
        """The same bytes but for the model's name and the reasoning field."""
        return complete(body, answer)

    def translator(self, answer: Answer) -> Translator:
        """Events pass as bytes."""
        return EventStream(answer)


def template_arguments(
    draft: Draft, case: Case, efforts: tuple[str, ...] = WORDS, *, beside: bool = True, both: bool = False
) -> None:
    """Writes `chat_template_kwargs` and `think`, in the spelling that the family's template wants.

    `efforts`: the levels that the server takes; `beside`: whether its templates hear one beside a switch;
    `both`: whether an effort that no family asks for has to be said as the most common switch, too.
    """
    extra = draft.value("chat_template_kwargs")
    if extra is not None:
        draft.put("chat_template_kwargs", "chat_template_kwargs", dict(extra))
    think = draft.value("think")
    if think is None:
        return
    thinking = case.family.known_thinking if case.family else None
    fixed = thinking is not None and thinking.default in ("always", "never")
    switch = _switch(thinking, case.spelled)
    if thinking is not None and fixed and switch != "reasoning_effort":
        _drop_fixed(draft, case, thinking.default == "always", think is not False)
    elif switch == "none":
        draft.drop("think", "no switch for thinking is known for this family", "no-thinking-switch")
    elif _said_above(draft, switch, extra):
        draft.drop("think", f"chat_template_kwargs says {switch} already", "overruled")
    elif switch == "reasoning_effort" and both and not _asks_for(thinking, switch):
        _effort_and_switch(draft, think, *_levels(thinking, case, efforts), silent=not beside)
    elif switch == "reasoning_effort":
        _effort(draft, think, *_levels(thinking, case, efforts))
    else:
        draft.put("think", f"chat_template_kwargs.{switch}", think is not False)
        if isinstance(think, str) and not beside:
            draft.hold("think", True, f"{case.target.label}: templates know on and off, no level")
        elif isinstance(think, str):
            _effort(draft, think, *_levels(thinking, case, efforts))
            draft.named("think", f"chat_template_kwargs.{switch}")


def _switch(thinking: Thinking | None, spelled: frozenset[str]) -> str:
    """The family's switch; where none is known the client's own spelling, and for a model of no known family
    the most common one."""
    if thinking is not None and (thinking.switch != "none" or thinking.default in ("always", "never")):
        return thinking.switch
    own = next(
        (name for name in ("thinking", "enable_thinking", "reasoning_effort") if name in spelled), None
    )
    return own or ("none" if thinking is not None else COMMON)


def _asks_for(thinking: Thinking | None, switch: str) -> bool:
    return thinking is not None and thinking.switch == switch


def _drop_fixed(draft: Draft, case: Case, always: bool, wanted: bool) -> None:
    how = "always" if always else "never"
    name = case.family.name if case.family else "the model"
    draft.drop("think", f"{name} {how} thinks", f"family-{how}-thinks", harmless=always is wanted)


def _said_above(draft: Draft, switch: str, extra: Mapping[str, Any] | None) -> bool:
    """Whether a higher layer has set the switch as a template argument."""
    kwargs, think = draft.decided("chat_template_kwargs"), draft.decided("think")
    return (
        extra is not None and switch in extra and kwargs is not None and think is not None
        and kwargs.layer > think.layer
    )  # fmt: skip


def _levels(thinking: Thinking | None, case: Case, efforts: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The levels to choose from, and who says so."""
    own = tuple(name for name in efforts if thinking is not None and name in thinking.levels)
    return (own, f"family {case.family.name}") if own and case.family else (efforts, case.target.label)


def _effort_and_switch(
    draft: Draft, think: object, levels: tuple[str, ...], who: str, *, silent: bool
) -> None:
    """The effort, and the switch where the effort alone might not reach the template.

    `silent`: the server does not switch thinking itself when it is told an effort. Off is said as a switch
    whatever the server, since to miss it would cost the most.
    """
    if silent or think is False:
        draft.put("think", f"chat_template_kwargs.{COMMON}", think is not False)
    if think is not False or "none" in levels:
        _effort(draft, think, levels, who)


def _effort(draft: Draft, think: object, levels: tuple[str, ...], who: str) -> None:
    wanted = level(think, levels)
    if think is False and wanted != "none":
        draft.hold("think", wanted, f"{who}: thinking cannot be turned off")
    elif isinstance(think, str):
        draft.hold("think", wanted, f"{who}: one of {', '.join(levels)}")
    draft.put("think", "reasoning_effort", wanted)
