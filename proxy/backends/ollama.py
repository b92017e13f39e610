"""Pure. Ollama's dialect: OpenAI's chat out to the native `/api/chat`, which alone takes every option.

Which option lives since and until when is Ollama's own history (`api/types.go`, `server/routes.go` and the
release tags); an unknown version counts as the newest.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from proxy.backends.answer import Answer, Translator
from proxy.backends.backend import (
    Case,
    Draft,
    Limit,
    Plan,
    Translation,
    UpstreamRequest,
    hold_to_context,
    is_neutral,
)
from proxy.backends.ollama_answer import complete
from proxy.backends.ollama_load import hold_context
from proxy.backends.ollama_lost import lost_fields, refuse_forced, refuse_media
from proxy.backends.ollama_messages import translate_messages, translate_tools
from proxy.backends.ollama_stream import OllamaStream
from proxy.backends.ollama_think import put_think
from proxy.errors import Unsupported
from proxy.openai.request import ChatRequest
from proxy.parameters.resolution import Change, Resolution

CHAT_PATH = "/api/chat"

OPTIONS = {
    name: name
    for name in (
        "temperature top_k top_p min_p typical_p repeat_penalty repeat_last_n presence_penalty "
        "frequency_penalty seed num_keep stop num_ctx num_batch num_gpu main_gpu use_mmap num_thread "
        "draft_num_predict mirostat mirostat_tau mirostat_eta tfs_z penalize_newline low_vram f16_kv "
        "logits_all vocab_only use_mlock numa embedding_only num_gqa rope_frequency_base "
        "rope_frequency_scale"
    ).split()
} | {"max_tokens": "num_predict"}
"""Attune's name -> the key in `options`."""

ADDED = {
    "min_p": (0, 3, 1),
    "draft_num_predict": (0, 30, 0),
    "shift": (0, 12, 6),
    "truncate": (0, 12, 6),
    "logprobs": (0, 12, 11),
    "top_logprobs": (0, 12, 11),
}
"""First release that knows it."""

REMOVED = {
    "embedding_only": (0, 1, 28),
    "num_gqa": (0, 1, 35),
    "rope_frequency_base": (0, 1, 35),
    "rope_frequency_scale": (0, 1, 35),
    "numa": (0, 3, 4),
    "tfs_z": (0, 5, 2),
    "penalize_newline": (0, 5, 5),
    "low_vram": (0, 7, 0),
    "f16_kv": (0, 7, 0),
    "logits_all": (0, 7, 0),
    "vocab_only": (0, 7, 0),
    "use_mlock": (0, 7, 0),
    "mirostat": (0, 7, 0),
    "mirostat_tau": (0, 7, 0),
    "mirostat_eta": (0, 7, 0),
}
"""First release that ignores it."""

TOP_LEVEL = ("keep_alive", "truncate", "shift", "logprobs", "top_logprobs")

MLX_IGNORES = ("response_format", "stop", "typical_p", "num_keep")
"""Without effect on models in safetensors format (issues 16563, 16776, 17013, 17183)."""


class OllamaBackend:
    """The native API."""

    runtime = "ollama"

    def limits(self, case: Case) -> Iterable[Limit]:
        """The trained context, and the one range that Ollama itself enforces."""
        yield "top_logprobs", 0, 20, case.target.label
        model = case.target.model
        if model is not None and model.context is not None:
            yield "num_ctx", None, model.context, f"{model.name}: trained context"

    def item_limits(self, case: Case) -> Iterable[tuple[str, int, str]]:
        """Ollama limits no list."""
        return ()

    def translate(self, resolution: Resolution, case: Case) -> Translation:
        """Native names; what this version or engine ignores is dropped and reported."""
        draft = Draft(resolution, case.target)
        _refuse_many(draft)
        _drop_dead(draft, case)
        hold_to_context(draft, case, "trained context")
        hold_context(draft, case)
        _add_own_stops(draft, case)
        put_think(draft, case)
        one_tool_call = _one_tool_call(draft)
        for name, decided in draft.pending():
            if name in OPTIONS:
                draft.put(name, f"options.{OPTIONS[name]}", decided.value)
            elif name in TOP_LEVEL:
                draft.put(name, name, decided.value)
            elif name == "response_format":
                _format(draft)
            else:
                draft.drop(name, "ollama has no such option", harmless=is_neutral(name, decided.value))
        return draft.done(one_tool_call=one_tool_call)

    def write(self, chat: ChatRequest, plan: Plan, messages: bytes | None) -> UpstreamRequest:
        """The native request: messages and tools translated, `stream` said outright.

        Raises `Unsupported` for media that the model lacks, and `StrictViolation` for what a strict request
        would lose.
        """
        source = messages if messages is not None else bytes(chat.fields["messages"])
        said = translate_messages(source)
        refuse_media(said, plan)
        body = b'{"model":' + orjson.dumps(plan.model) + b',"messages":' + said.body
        body += b',"stream":true' if chat.stream else b',"stream":false'
        warnings = said.warnings
        if chat.tools or "tool_choice" in chat.fields or "function_call" in chat.fields:
            tools = translate_tools(
                chat.raw("tools"), chat.raw("tool_choice"), chat.raw("functions"), chat.raw("function_call")
            )
            body += b',"tools":' + tools.body if tools.body else b""
            if plan.strict:
                refuse_forced(tools)
            warnings += tools.warnings
        if plan.fragment:
            body += b"," + plan.fragment
        warnings += lost_fields(chat, plan.strict)
        return UpstreamRequest(CHAT_PATH, body + b"}", warnings)

    def complete(self, body: bytes, answer: Answer) -> bytes:
        """A native record as a chat completion."""
        return complete(body, answer)

    def translator(self, answer: Answer) -> Translator:
        """NDJSON to server-sent events."""
        return OllamaStream(answer)


def _refuse_many(draft: Draft) -> None:
    many = draft.value("n")
    if many is not None and many > 1:
        raise Unsupported(f"Ollama gives one answer per request, and n is {many}", param="n")


def _drop_dead(draft: Draft, case: Case) -> None:
    """What this version does not know yet or any more, and what this engine ignores."""
    target = case.target
    mlx = target.model is not None and target.model.format == "safetensors"
    for name, decided in draft.pending():
        added, removed = ADDED.get(name), REMOVED.get(name)
        if name in target.features:
            continue
        if removed is not None and target.since(*removed):
            words = f"ignored by ollama since {_dotted(removed)}"
            draft.drop(name, words, harmless=is_neutral(name, decided.value))
        elif added is not None and not target.since(*added):
            words = f"unknown to ollama before {_dotted(added)}"
            draft.drop(name, words, harmless=is_neutral(name, decided.value))
        elif mlx and name in MLX_IGNORES:
            draft.drop(name, "has no effect on models in safetensors format", "no-effect-on-mlx")


def _add_own_stops(draft: Draft, case: Case) -> None:
    """A request's stop list replaces the model's own, so the model's own are added to it.

    An empty list would leave the model with no end at all; OpenAI's meaning of it is to leave it out.
    """
    stop = draft.decided("stop")
    if stop is None or not stop.sent:
        return
    model = case.target.model
    if not stop.value:
        draft.drop("stop", "an empty list would wipe the model's own stops", "empty", harmless=True)
        return
    own = [s for s in (model.parameters.get("stop") or ()) if s not in stop.value] if model else []
    if own:
        draft.extend("stop", Change(own, "the model's own stops"))


def _one_tool_call(draft: Draft) -> bool:
    if draft.value("parallel_tool_calls") is not False:
        return False
    draft.named("parallel_tool_calls", "answer: only the first tool call is passed on")
    return True


def _format(draft: Draft) -> None:
    value = draft.value("response_format")
    kind = value.get("type")
    if kind == "json_object":
        draft.put("response_format", "format", "json")
    elif kind == "json_schema":
        draft.put("response_format", "format", value["json_schema"]["schema"])
    else:
        draft.drop("response_format", f"ollama has no format {kind}", harmless=kind == "text")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
