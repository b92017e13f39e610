"""Pure. vLLM's dialect: names, ranges and gaps of its OpenAI server.

Facts are those of vLLM 0.32.0 (`sampling_params.py`, `chat_completion/protocol.py`) with the changes between
versions that its older wheels show; an unknown version counts as the newest.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.backends.backend import Case, Draft, Limit, Translation, hold_to_context, is_neutral
from proxy.backends.openai import WORDS, OpenAIBackend, template_arguments
from proxy.parameters.resolution import Resolution

MAX_STOP_STRINGS = 4
"""`VLLM_MAX_STOP_STRINGS`, unless the server was started with another value."""

SMALLEST_TEMPERATURE = 0.01
"""vLLM lifts what is between 0 and this, without a word."""

SMALLEST_TOP_P = 1e-9
"""vLLM refuses 0; this is accepted and as greedy."""

SMALLEST_PENALTY = 0.01
"""vLLM refuses a repetition penalty of 0."""

WIRE = {
    name: name
    for name in (
        "temperature top_p top_k min_p presence_penalty frequency_penalty seed stop min_tokens ignore_eos "
        "stop_token_ids bad_words allowed_token_ids skip_special_tokens thinking_token_budget n logprobs "
        "top_logprobs logit_bias response_format structured_outputs parallel_tool_calls priority max_tokens "
        "best_of use_beam_search length_penalty guided_json guided_regex guided_choice guided_grammar "
        "include_stop_str_in_output spaces_between_special_tokens truncate_prompt_tokens prompt_logprobs "
        "include_reasoning repetition_detection"
    ).split()
} | {"repeat_penalty": "repetition_penalty"}
"""Attune's name -> vLLM's."""

NO_SAMPLER = "vLLM has no such sampling option and would ignore it without a word"
START_OPTION = "fixed when the vLLM server starts"

UNSUPPORTED = {
    "typical_p": NO_SAMPLER,
    "tfs_z": NO_SAMPLER,
    "mirostat": NO_SAMPLER,
    "mirostat_tau": NO_SAMPLER,
    "mirostat_eta": NO_SAMPLER,
    "penalize_newline": NO_SAMPLER,
    "repeat_last_n": "vLLM's repetition penalty looks at the whole prompt and answer, it has no window",
    "num_ctx": "the context is fixed by --max-model-len when the vLLM server starts",
    "num_keep": "vLLM never shifts its context",
    "shift": "vLLM never shifts its context",
    "truncate": "vLLM refuses an overlong prompt",
    "keep_alive": "a vLLM server keeps its one model loaded",
}
"""Parameter -> why it is not sent; the load-time options that are not named here are start options."""

ALREADY_SO = {"truncate": False, "shift": False, "repeat_last_n": -1}
"""What vLLM does anyway: leaving these out changes nothing."""

SINCE = {"thinking_token_budget": (0, 20), "structured_outputs": (0, 12), "repetition_detection": (0, 18)}
"""Parameter -> the first of the looked-at versions that knows it."""

REMOVED = {"best_of": (0, 12)}
"""Parameter -> the first of the looked-at versions that ignores it."""

CONSTRAINTS = ("structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar")
"""What constrains an answer, the stronger first: vLLM takes one of them at a time."""

EFFORTS_SINCE = {"none": (0, 18), "minimal": (0, 22), "xhigh": (0, 22), "max": (0, 22)}
"""Effort level -> the first of the looked-at versions that takes it; the others are older."""


class VllmBackend(OpenAIBackend):
    """vLLM's own parameters at the top level of OpenAI's body."""

    runtime = "vllm"

    def limits(self, case: Case) -> Iterable[Limit]:
        """Ranges that vLLM refuses to leave, by version."""
        who = case.target.label
        if case.target.since(0, 24):
            yield "temperature", 0.0, 2.0, who
        yield "top_p", SMALLEST_TOP_P, 1.0, who
        yield "top_k", -1, None, who
        yield "min_p", 0.0, 1.0, who
        yield "presence_penalty", -2.0, 2.0, who
        yield "frequency_penalty", -2.0, 2.0, who
        yield "repeat_penalty", SMALLEST_PENALTY, None, who
        yield "top_logprobs", -1, 20, who
        yield "prompt_logprobs", -1, 20, who
        model = case.target.model
        if model is not None and model.context is not None:
            yield "truncate_prompt_tokens", None, model.context, f"{model.name}: max_model_len"

    def item_limits(self, case: Case) -> Iterable[tuple[str, int, str]]:
        """vLLM takes four stop strings since 0.28."""
        if case.target.since(0, 28):
            yield "stop", MAX_STOP_STRINGS, case.target.label

    def translate(self, resolution: Resolution, case: Case) -> Translation:
        """vLLM's names; what it would ignore is dropped, what it would refuse is held."""
        draft = Draft(resolution, case.target)
        _window(draft)
        _lengths(draft, case)
        _lists(draft, case)
        _edges(draft, case)
        _constraints(draft, case)
        for name, decided in draft.pending():
            if name in ("think", "chat_template_kwargs"):
                continue
            wire = WIRE.get(name)
            if wire is None:
                same = ALREADY_SO.get(name) == decided.value or is_neutral(name, decided.value)
                draft.drop(name, UNSUPPORTED.get(name, START_OPTION), harmless=same)
            elif not case.target.since(*SINCE.get(name, (0,))):
                draft.drop(name, f"vLLM knows it since {_dotted(SINCE[name])}")
            elif name in REMOVED and case.target.since(*REMOVED[name]):
                reason = f"ignored by vLLM since {_dotted(REMOVED[name])}"
                draft.drop(name, reason, harmless=is_neutral(name, decided.value))
            else:
                draft.put(name, wire, decided.value)
        _greedy_n(draft)
        efforts = tuple(name for name in WORDS if case.target.since(*EFFORTS_SINCE.get(name, (0,))))
        template_arguments(draft, case, efforts, beside=case.target.since(0, 22), both=True)
        return draft.done()


def _constraints(draft: Draft, case: Case) -> None:
    """`guided_*` in the words of `structured_outputs`, which took their place in 0.12.

    Of several the highest layer's is kept, within a layer the first of `CONSTRAINTS`.
    """
    named = [(decided.layer, name) for name, decided in draft.pending() if name in CONSTRAINTS]
    if not named or not case.target.since(*SINCE["structured_outputs"]):
        return
    kept = max(named, key=lambda each: (each[0], -CONSTRAINTS.index(each[1])))[1]
    for _, name in named:
        if name != kept:
            draft.drop(name, f"vLLM takes one constraint, and {kept} is used", "overruled")
    if kept.startswith("guided_"):
        wire = f"structured_outputs.{kept.removeprefix('guided_')}"
        draft.put(kept, wire, draft.value(kept))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _window(draft: Draft) -> None:
    """`repeat_last_n: 0` switches the penalty off, which vLLM says with a penalty of 1.

    It is said outright: not sent, the penalty of the model's own generation_config would apply.
    """
    if draft.value("repeat_last_n") != 0:
        return
    draft.put("repeat_last_n", WIRE["repeat_penalty"], 1.0)
    if draft.value("repeat_penalty") is not None:
        draft.hold("repeat_penalty", 1.0, "repeat_last_n 0 switches the penalty off")


def _lengths(draft: Draft, case: Case) -> None:
    """What vLLM refuses of `max_tokens`, `min_tokens` and the thinking budget."""
    _max_tokens(draft, case)
    most, least = draft.value("max_tokens"), draft.value("min_tokens")
    if most is not None and least is not None and least > most:
        draft.hold("min_tokens", most, f"{case.target.label}: at most max_tokens")
    budget = draft.value("thinking_token_budget")
    if budget is not None and budget < -1:
        draft.hold("thinking_token_budget", -1, f"{case.target.label}: -1 means no limit")


def _max_tokens(draft: Draft, case: Case) -> None:
    value, model = draft.value("max_tokens"), case.target.model
    if value is None:
        return
    if value < 0:
        reason = "no limit: vLLM uses all the room left when it is not sent"
        draft.drop("max_tokens", reason, "no-limit", harmless=True)
    elif value == 0:
        draft.hold("max_tokens", 1, f"{case.target.label}: min 1")
    elif model is not None and model.context is not None and value > model.context:
        if case.target.since(0, 32):
            hold_to_context(draft, case, "max_model_len")
        else:
            # the whole context leaves no room for the prompt, which these versions refuse
            whole = f"{model.name}: max_model_len {model.context}"
            draft.drop("max_tokens", f"above {whole}: left out, all the room left is used", "above-context")


def _lists(draft: Draft, case: Case) -> None:
    for name in ("stop", "bad_words"):
        value = draft.value(name)
        if value and "" in value:
            draft.hold(name, [s for s in value if s], f"{case.target.label}: no empty strings")


def _edges(draft: Draft, case: Case) -> None:
    """Single values inside a range that mean something else here."""
    temperature, label = draft.value("temperature"), case.target.label
    if temperature is not None and 0 < temperature < SMALLEST_TEMPERATURE:
        draft.hold("temperature", SMALLEST_TEMPERATURE, f"{label}: min {SMALLEST_TEMPERATURE} above 0")
    if draft.value("top_k") == 0 and not case.target.since(0, 10):
        draft.hold("top_k", -1, f"{label}: off is -1")


def _greedy_n(draft: Draft) -> None:
    """vLLM refuses several greedy answers: they would all be the same."""
    many = draft.value("n")
    if many is not None and many > 1 and draft.value("temperature") == 0:
        draft.warn("n above 1 needs a temperature above 0: vLLM will refuse this request")
