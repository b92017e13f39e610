"""Pure. Any OpenAI-compatible server: OpenAI's names, everything else as the client, family or rule says it.

Also the base of vLLM's dialect: both speak OpenAI's own wire format, so bodies pass as bytes and only
parameters are rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import orjson

from proxy.backends.answer import Answer, Translator
from proxy.backends.backend import Case, Draft, Limit, Plan, Translation, UpstreamRequest
from proxy.backends.openai_answer import complete
from proxy.backends.sse_stream import EventStream
from proxy.openai.request import ChatRequest
from proxy.parameters.catalog import CATALOG
from proxy.parameters.client import FIELDS
from proxy.parameters.resolution import Resolution
from proxy.parameters.thinking import level

CHAT_PATH = "/v1/chat/completions"

RENAMED = {"format": "response_format", "num_predict": "max_tokens", "max_output_tokens": "max_tokens"}
"""Spellings that clients may use and no OpenAI-compatible chat endpoint knows."""

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
                spelling = next((s for s in CATALOG[name].spellings if s in case.spelled), name)
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


def template_arguments(draft: Draft, case: Case) -> None:
    """Writes `chat_template_kwargs` and `think`, in the spelling that the family's template wants."""
    extra = draft.value("chat_template_kwargs")
    if extra is not None:
        draft.put("chat_template_kwargs", "chat_template_kwargs", dict(extra))
    think = draft.value("think")
    if think is None:
        return
    thinking = case.family.known_thinking if case.family else None
    switch = thinking.switch if thinking else _guess(case.spelled)
    if thinking is not None and thinking.default in ("always", "never") and switch != "reasoning_effort":
        does = thinking.default == "always"
        reason = f"{case.family.name if case.family else 'the model'} {thinking.default} thinks"
        draft.drop(
            "think", reason, f"family-{thinking.default}-thinks", harmless=does is (think is not False)
        )
    elif switch == "reasoning_effort":
        _effort(draft, think, thinking.levels if thinking else (), case)
    elif switch == "none":
        draft.drop("think", "no switch for thinking is known for this family", "no-thinking-switch")
    else:
        draft.put("think", f"chat_template_kwargs.{switch}", think is not False)
        if isinstance(think, str):
            _level_beside(draft, think, switch, case)


def _guess(spelled: frozenset[str]) -> str:
    """For a model of no known family: the client's own spelling, else the most common one."""
    for switch in ("thinking", "enable_thinking", "reasoning_effort"):
        if switch in spelled:
            return switch
    return "enable_thinking"


def _effort(draft: Draft, think: object, levels: tuple[str, ...], case: Case) -> None:
    name = case.family.name if case.family else "the model"
    wanted = level(think, levels) if levels else _plain_effort(think)
    if think is False and wanted != "none":
        draft.hold("think", wanted, f"family {name}: thinking cannot be turned off")
    elif isinstance(think, str):
        draft.hold("think", wanted, f"family {name}: one of {', '.join(levels)}" if levels else name)
    draft.put("think", "reasoning_effort", wanted)


def _plain_effort(think: object) -> str:
    return str(think) if isinstance(think, str) else "medium" if think else "none"


def _level_beside(draft: Draft, think: str, switch: str, case: Case) -> None:
    """A level beside the switch, where the server takes one."""
    if case.target.runtime == "vllm" and not case.target.since(0, 22):
        known = case.target.label
        draft.hold("think", True, f"{known}: templates know on and off, no level")
        return
    draft.put("think", "reasoning_effort", think)
    draft.named("think", f"chat_template_kwargs.{switch}")
