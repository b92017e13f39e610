"""Pure. Every generation parameter Attune knows, as one table.

`form` bounds shape a form and limit what may be stored; `hard` bounds are those no runtime gives a meaning
beyond. What a runtime enforces on top stands in its backend. Defaults of the five standard parameters follow
the contract; the others are what the runtimes use when nothing is sent (Ollama `api/types.go`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Type = Literal["float", "int", "bool", "list", "enum", "string", "object"]
When = Literal["request", "load"]

INT64 = 2**63 - 1
INT32 = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Range:
    """Inclusive bounds; `None` means unbounded on that side."""

    min: float | None = None
    max: float | None = None


ANY = Range()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter under Attune's own name."""

    name: str
    type: Type
    desc: str
    default: Any = None
    """What a form shows and what "reset" means; never sent by itself."""
    form: Range = ANY
    hard: Range = ANY
    step: float | None = None
    options: tuple[Any, ...] = ()
    items: Literal["string", "int"] | None = None
    """The type of a list's items."""
    when: When = "request"
    """`load`: a property of the loaded model; changing it may reload the model for everybody."""
    protected: bool = False
    """It affects other people's requests too; `ATTUNE_PROTECTED=drop` keeps clients from setting it."""
    advanced: bool = True
    aliases: tuple[str, ...] = ()
    """Other names clients use for it."""
    stronger: tuple[str, ...] = ()
    """Aliases that beat the name itself when a client sends both."""

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every name a client may use, the one that wins first."""
        weaker = tuple(a for a in self.aliases if a not in self.stronger)
        return (*self.stronger, self.name, *weaker)

    def as_spelled(self, used: frozenset[str]) -> str:
        """What a client that used these names called it; its own name if none of them."""
        return next((s for s in self.spellings if s in used), self.name)


def _p(name: str, kind: Type, desc: str, **rest: Any) -> Parameter:
    return Parameter(name, kind, desc, **rest)


UNIT = Range(0.0, 1.0)
PENALTY = Range(-2.0, 2.0)
THINK_LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max", "ultra")

# fmt: off
_STANDARD = (
    _p("temperature", "float", "Randomness: 0 always takes the likeliest token, higher is more varied.",
       default=0.7, form=Range(0.0, 2.0), hard=Range(0.0), step=0.05, advanced=False),
    _p("max_tokens", "int", "The most tokens to generate, thinking included; -1 means no limit.",
       default=2048, form=Range(128, 8192), hard=Range(-INT32 - 1, INT32), step=1, advanced=False,
       aliases=("max_completion_tokens", "max_output_tokens", "num_predict"),
       stronger=("max_completion_tokens",)),
    _p("top_p", "float", "Sample among the likeliest tokens that together reach this probability; 1 is off.",
       default=0.9, form=UNIT, hard=UNIT, step=0.01, advanced=False),
    _p("top_k", "int", "Sample among this many likeliest tokens; 0 is off.",
       default=40, form=Range(1, 100), hard=Range(-1, INT32), step=1, advanced=False),
    _p("repeat_penalty", "float", "Divides the score of tokens already seen; 1 is off.",
       default=1.1, form=Range(1.0, 2.0), hard=Range(0.0), step=0.01, advanced=False,
       aliases=("repetition_penalty",)),
)

_SAMPLING = (
    _p("min_p", "float", "Drop tokens less likely than this share of the likeliest one; 0 is off.",
       default=0.0, form=UNIT, hard=UNIT, step=0.01),
    _p("typical_p", "float", "Keep tokens of typical surprise up to this probability; 1 is off.",
       default=1.0, form=UNIT, hard=UNIT, step=0.01),
    _p("repeat_last_n", "int", "How far back, in tokens, the repeat penalty looks; 0 is off, -1 is all.",
       default=64, form=Range(-1, 8192), hard=Range(-1, INT32), step=1),
    _p("presence_penalty", "float", "Subtracted once from tokens already generated; 0 is off.",
       default=0.0, form=PENALTY, step=0.1),
    _p("frequency_penalty", "float", "Subtracted per occurrence from tokens already generated; 0 is off.",
       default=0.0, form=PENALTY, step=0.1),
    _p("seed", "int", "Makes sampling repeatable; -1 is random each time.",
       default=-1, form=Range(-1, INT32), hard=Range(-INT64 - 1, INT64), step=1),
    _p("stop", "list", "Texts that end the answer; the matched text is not returned.",
       default=[], items="string"),
    _p("mirostat", "enum", "Steers surprise directly: 0 off, 1 Mirostat, 2 Mirostat 2.0.",
       default=0, options=(0, 1, 2)),
    _p("mirostat_tau", "float", "Mirostat's target surprise in bits; lower is more focused.",
       default=5.0, form=Range(0.0, 10.0), hard=Range(0.0), step=0.1),
    _p("mirostat_eta", "float", "Mirostat's learning rate.",
       default=0.1, form=UNIT, hard=Range(0.0), step=0.01),
    _p("tfs_z", "float", "Tail-free sampling; 1 is off.", default=1.0, form=UNIT, hard=Range(0.0), step=0.01),
    _p("min_tokens", "int", "Hold back the end of the answer for this many tokens.",
       default=0, form=Range(0, 8192), hard=Range(0, INT32), step=1),
    _p("penalize_newline", "bool", "Whether the repeat penalty counts line ends.", default=True),
    _p("ignore_eos", "bool", "Go on after the end token, until max_tokens.", default=False),
    _p("stop_token_ids", "list", "Token ids that end the answer.", default=[], items="int"),
    _p("bad_words", "list", "Texts that must not be generated.", default=[], items="string"),
    _p("allowed_token_ids", "list", "Only these token ids may be generated.", items="int"),
    _p("skip_special_tokens", "bool", "Leave special tokens out of the text.", default=True),
    _p("spaces_between_special_tokens", "bool", "Put spaces between special tokens.", default=True),
    _p("include_stop_str_in_output", "bool", "Return the text that ended the answer, too.", default=False),
    _p("repetition_detection", "object", "When to stop an answer that runs in circles."),
    _p("best_of", "int", "How many answers to generate, of which the best are returned.",
       form=Range(1, 8), hard=Range(1, INT32), step=1),
    _p("use_beam_search", "bool", "Search with beams instead of sampling; n is their number.", default=False),
    _p("length_penalty", "float", "Beam search: how much longer answers are preferred; 1 is neutral.",
       default=1.0, form=Range(0.0, 2.0), step=0.1),
)

_ANSWER = (
    _p("think", "enum", "Thinking: off, on, or how hard.", options=(False, True, *THINK_LEVELS),
       aliases=("reasoning_effort",)),
    _p("thinking_token_budget", "int", "The most tokens to think for; -1 means no limit.",
       hard=Range(-INT32 - 1, INT32), form=Range(-1, 131072), step=1),
    _p("include_reasoning", "bool", "Return the text of thinking.", default=True),
    _p("n", "int", "How many answers to generate.", default=1, form=Range(1, 8), hard=Range(1, 16384),
       step=1),
    _p("logprobs", "bool", "Return the log probability of each token.", default=False),
    _p("top_logprobs", "int", "How many alternatives to return for each token; needs logprobs.",
       default=0, form=Range(0, 20), hard=Range(-1, INT32), step=1),
    _p("prompt_logprobs", "int", "How many alternatives to return for each token of the prompt; -1 is all.",
       form=Range(0, 20), hard=Range(-1, INT32), step=1),
    _p("logit_bias", "object", "Token id to a bias between -100 and 100."),
    _p("response_format", "object", "text, json_object or json_schema.", aliases=("format",)),
    _p("structured_outputs", "object", "Constrain the answer: one of json, regex, choice, grammar."),
    _p("guided_json", "object", "Constrain the answer to a JSON schema."),
    _p("guided_regex", "string", "Constrain the answer to a regular expression."),
    _p("guided_choice", "list", "Constrain the answer to one of these texts.", items="string"),
    _p("guided_grammar", "string", "Constrain the answer to a grammar."),
    _p("parallel_tool_calls", "bool", "Whether one answer may call several tools.", default=True),
    _p("chat_template_kwargs", "object", "Values for the model's chat template."),
    _p("truncate", "bool", "Drop the oldest messages until the prompt fits.", default=True),
    _p("truncate_prompt_tokens", "int", "Keep at most this many tokens of the prompt; -1 is all that fits.",
       form=Range(-1, 131072), hard=Range(-1, INT32), step=1),
    _p("priority", "int", "Scheduling priority; lower is earlier.", default=0,
       form=Range(-100, 100), hard=Range(-INT32 - 1, INT32), step=1, protected=True),
)

_LOADING = (
    _p("num_ctx", "int", "Context length in tokens the model is loaded with.", default=4096,
       form=Range(512, 131072), hard=Range(4, INT32), step=512, when="load", protected=True),
    _p("num_keep", "int", "Tokens of the prompt to keep when the context shifts; -1 keeps it all.",
       default=4, form=Range(-1, 131072), hard=Range(-1, INT32), step=1),
    _p("num_batch", "int", "Tokens of the prompt processed at once.", default=512, form=Range(1, 4096),
       hard=Range(1, INT32), step=1, when="load", protected=True),
    _p("num_gpu", "int", "Layers on the GPU; -1 is automatic, 0 is none.", default=-1, form=Range(-1, 256),
       hard=Range(-1, INT32), step=1, when="load", protected=True),
    _p("main_gpu", "int", "The GPU that holds small tensors.", default=0, form=Range(0, 15),
       hard=Range(0, INT32), step=1, when="load", protected=True),
    _p("num_thread", "int", "CPU threads; 0 is automatic.", default=0, form=Range(0, 256),
       hard=Range(0, INT32), step=1, when="load", protected=True),
    _p("use_mmap", "bool", "Map the model file into memory instead of reading it.", default=True,
       when="load", protected=True),
    _p("draft_num_predict", "int", "Tokens to draft ahead with a draft model; 0 is off.", default=0,
       form=Range(0, 64), hard=Range(0, INT32), step=1, when="load", protected=True),
    _p("shift", "bool", "Go on past the context's end by dropping old tokens.", default=True,
       when="load", protected=True),
    _p("keep_alive", "string", "How long the model stays loaded: seconds, or a duration such as 10m.",
       default="5m", when="load", protected=True),
    _p("numa", "bool", "NUMA optimisation.", default=False, when="load", protected=True),
    _p("low_vram", "bool", "Use less video memory.", default=False, when="load", protected=True),
    _p("f16_kv", "bool", "Keep the KV cache in 16 bit.", default=True, when="load", protected=True),
    _p("use_mlock", "bool", "Keep the model in RAM.", default=False, when="load", protected=True),
    _p("vocab_only", "bool", "Load the vocabulary only.", default=False, when="load", protected=True),
    _p("logits_all", "bool", "Return logits of all tokens.", default=False, when="load", protected=True),
    _p("embedding_only", "bool", "Load the model for embeddings only.", when="load", protected=True),
    _p("num_gqa", "int", "Groups of grouped-query attention.", form=Range(1, 64), hard=Range(0, INT32),
       step=1, when="load", protected=True),
    _p("rope_frequency_base", "float", "Base frequency of the rotary position embedding.", when="load",
       protected=True),
    _p("rope_frequency_scale", "float", "Scale of the rotary position embedding's frequency.", when="load",
       protected=True),
)

# fmt: on

CATALOG: dict[str, Parameter] = {p.name: p for p in (*_STANDARD, *_SAMPLING, *_ANSWER, *_LOADING)}
"""Attune's name -> parameter, in the order in which forms and tables show them."""

UNLIMITED_BELOW_ZERO = frozenset({"max_tokens", "thinking_token_budget"})
"""Negative values of these mean "no limit": they are below no minimum, and above every maximum."""

CANONICAL: dict[str, str] = {spelling: p.name for p in CATALOG.values() for spelling in (p.name, *p.aliases)}
"""Every spelling a client may use at the top level, in `generation_params` or in `options` -> our name."""
