"""The generated tables of the documentation, each read off the code that it speaks of."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from proxy import offline
from proxy.backends import ollama, ollama_think, vllm
from proxy.backends.backend import Backend, Case
from proxy.backends.facts import ModelFacts, NumCtxPolicy, Target
from proxy.backends.openai import WORDS
from proxy.backends.support import support_table
from proxy.decider import Decider, Incoming
from proxy.decision import Caller, Policy
from proxy.openai.request import parse_chat
from proxy.parameters.bounds import hard
from proxy.parameters.catalog import CATALOG
from proxy.parameters.layers import Layer
from proxy.parameters.resolution import Candidate
from proxy.parameters.resolve import Edits, resolve
from proxy.reload import RuleFiles
from proxy.rules.schema import rules_reference
from proxy.settings import table as settings_table
from proxy.snapshot import Snapshot, build
from tests.error_samples import SAMPLES
from tests.test_architecture import LINES, PROXY

THINKERS = ("qwen3:8b", "deepseek-v3.1:671b", "gpt-oss:20b", "deepseek-r1:8b", "llama3:8b", "house-model:7b")
"""One model for each way in which a family's template hears of thinking; the last of no known family."""

NEWEST_LOOKED_AT = 40
"""vLLM's minor versions below this one are asked for their limits."""


def tables() -> dict[str, str]:
    """Every generated table, by its name."""
    return {name: make().strip() for name, make in TABLES.items()}


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; a bar inside a cell is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)


def code(value: object) -> str:
    return f"`{value}`"


def codes(values: Iterable[object]) -> str:
    return ", ".join(map(code, values))


# Architecture


def rooms() -> str:
    """Every room of the package with what its docstring says of it, in the order of imports."""
    found = [(_line(name), name, path) for name, path in _rooms()]
    rows = []
    for _, name, path in sorted(found):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        kind, _, rest = docstring.partition(" ")
        place = f"proxy/{name}/" if path.name == "__init__.py" else f"proxy/{name}.py"
        rows.append((code(place), kind.removesuffix("."), _first_sentence(rest)))
    return table(("path", "kind", "its one job"), rows)


def import_order() -> str:
    """The lines of rooms, the lowest first."""
    return table(("line", "rooms"), [(str(i), codes(line)) for i, line in enumerate(LINES, 1)])


def _rooms() -> Iterator[tuple[str, Path]]:
    for path in PROXY.iterdir():
        if path.suffix == ".py" and path.stem not in ("__init__", "__main__"):
            yield path.stem, path
        elif (path / "__init__.py").is_file():
            yield path.name, path / "__init__.py"


def _line(room: str) -> int:
    return next((i for i, line in enumerate(LINES) if room in line), len(LINES))


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".")


# Resolution


def layers() -> str:
    rows = [(str(int(y)), code(y.label), y.summary, "yes" if y.sent else "no") for y in Layer]
    return table(("#", "layer", "from", "sent upstream"), rows)


def spellings() -> str:
    """The parameters with more than one name."""
    rows = [(code(p.name), codes(p.spellings)) for p in CATALOG.values() if p.aliases]
    return table(("parameter", "spellings, the one that wins first"), rows)


def protected() -> str:
    """The parameters that `ATTUNE_PROTECTED` is about."""
    return codes(p.name for p in CATALOG.values() if p.protected)


def thinking() -> str:
    """What goes upstream for each way of thinking, from the shipped families."""
    snapshot = build(RuleFiles([], builtin=True).read())
    rows = []
    for model in THINKERS:
        family = snapshot.families.find(model)
        for think in (False, True, "low"):
            said = [_thought(snapshot, model, runtime, think) for runtime in ("ollama", "vllm")]
            rows.append((code(model), family.name if family else "unknown", code(json.dumps(think)), *said))
    return table(("model", "family", "`think`", "to Ollama", "to vLLM"), rows)


def _thought(snapshot: Snapshot, model: str, runtime: str, think: object) -> str:
    messages = [{"role": "user", "content": ""}]
    chat = parse_chat(orjson.dumps({"model": model, "think": think, "messages": messages}))
    incoming = Incoming(chat, model, model, None, {}, Caller(), "docs")
    decider = Decider(Policy(vendor_defaults=False))
    written = offline.explain(snapshot, incoming, decider, offline.Scene((), runtime))
    dropped = written.prepared.decision.resolution.dropped.get("think")
    if dropped is not None:
        return f"left out: {dropped.reason}"
    body = orjson.loads(written.request.body)
    fields = {k: body[k] for k in ("think", "chat_template_kwargs", "reasoning_effort") if k in body}
    return code(json.dumps(fields)[1:-1])


def num_ctx() -> str:
    """What each policy makes of some requests."""
    rows = []
    for loaded, asked in ((8192, 4096), (8192, 20000), (None, 5000), (None, 100000)):
        sent = [code(_held(policy, loaded, asked)) for policy in ("pin", "bucket", "free")]
        rows.append((code(loaded) if loaded else "not loaded", code(asked), *sent))
    return table(("loaded with", "asked for", "`pin`", "`bucket`", "`free`"), rows)


def _held(policy: NumCtxPolicy, loaded: int | None, asked: int) -> Any:
    model = ModelFacts("llama3.1:8b", context=65536, loaded=loaded)
    case = Case(Target("gpu-a", "ollama", model=model, num_ctx=policy), None, "non-thinking")
    bounds = _bounds(ollama.OllamaBackend(), case, "num_ctx")
    offered = {"num_ctx": [Candidate(Layer.CLIENT, "request", asked)]}
    resolution = resolve(offered, Edits(bounds=bounds))
    case = Case(case.target, None, case.mode, bounds=bounds)
    return ollama.OllamaBackend().translate(resolution, case).fields["options"]["num_ctx"]


def _bounds(backend: Backend, case: Case, name: str) -> dict[str, Any]:
    found = hard(CATALOG[name])
    for limited, low, high, source in backend.limits(case):
        found = found.narrow(low, high, source) if limited == name else found
    return {name: found}


# Ollama


def ollama_options() -> str:
    """Every parameter that Ollama has a name for, and the versions between which it counts."""
    return table(
        ("parameter", "on the wire", "since", "ignored since", "on MLX", "remarks"),
        [_ollama_row(name) for name in CATALOG if _ollama_wire(name)],
    )


def ollama_gaps() -> str:
    """The parameters that Ollama has no name for."""
    return codes(name for name in CATALOG if not _ollama_wire(name) and name not in OLLAMA_OTHERWISE)


OLLAMA_OTHERWISE = {
    "n": "more than 1 is refused",
    "parallel_tool_calls": "`false`: only the first tool call of the answer is passed on",
}
"""Parameters that take effect without a field of the native request."""


def _ollama_wire(name: str) -> str | None:
    if name in ollama.OPTIONS:
        return f"options.{ollama.OPTIONS[name]}"
    return {"response_format": "format", "think": "think"}.get(
        name, name if name in ollama.TOP_LEVEL else None
    )


def _ollama_row(name: str) -> Sequence[str]:
    added, removed = ollama.ADDED.get(name), ollama.REMOVED.get(name)
    remark = "load time" if CATALOG[name].when == "load" else ""
    if name == "think":
        added = ollama_think.SINCE
        levels, most = _dotted(ollama_think.LEVELS_SINCE), _dotted(ollama_think.MAX_SINCE)
        remark = f"levels since {levels}, `max` since {most}"
    effect = "no effect" if name in ollama.MLX_IGNORES else ""
    return code(name), code(_ollama_wire(name)), _dotted(added), _dotted(removed), effect, remark


def _dotted(version: Sequence[int] | None) -> str:
    return "" if version is None else ".".join(map(str, version))


# vLLM


def vllm_names() -> str:
    """Every parameter that vLLM takes: its name there, since when, and how far its values may go."""
    held = _vllm_limits()
    rows = [
        (
            code(n),
            code(vllm.WIRE[n]),
            _dotted(vllm.SINCE.get(n)),
            _dotted(vllm.REMOVED.get(n)),
            held.get(n, ""),
        )
        for n in CATALOG
        if n in vllm.WIRE
    ]
    return table(("parameter", "vLLM's name", "since", "until", "held to"), rows)


def vllm_gaps() -> str:
    """What is not sent, and why."""
    reasons: dict[str, list[str]] = {}
    for name in CATALOG:
        if name not in vllm.WIRE and name not in ("think", "chat_template_kwargs"):
            reasons.setdefault(vllm.UNSUPPORTED.get(name, vllm.START_OPTION), []).append(name)
    return table(("left out", "reason"), [(codes(names), reason) for reason, names in reasons.items()])


def vllm_efforts() -> str:
    """The effort levels, and since when each is taken."""
    rows = [(code(n), _dotted(vllm.EFFORTS_SINCE.get(n)) or "always") for n in WORDS]
    return table(("level", "since"), rows)


EDGES: Sequence[tuple[Mapping[str, Any], str, str]] = (
    ({"temperature": 0.001}, "0.32.0", "vLLM would lift it without a word"),
    ({"top_p": 0}, "0.32.0", "0 is refused; this is as greedy"),
    ({"top_k": 0}, "0.8.5", "the older word for off; since 0.10 vLLM takes 0 as well"),
    ({"max_tokens": -1}, "0.32.0", "no limit: vLLM uses all the room that is left"),
    ({"max_tokens": 0}, "0.32.0", "0 is refused"),
    ({"max_tokens": 99999}, "0.32.0", "the model's context is 8192 here"),
    ({"max_tokens": 99999}, "0.31.0", "these versions refuse what leaves no room for the prompt"),
    ({"min_tokens": 50, "max_tokens": 20}, "0.32.0", "it may not be above `max_tokens`"),
    ({"thinking_token_budget": -5}, "0.32.0", "only -1 means no limit"),
    ({"stop": ["", "a"]}, "0.32.0", "empty texts are refused"),
    ({"guided_regex": "a+"}, "0.32.0", "`structured_outputs` took the place of `guided_*` in 0.12"),
    ({"guided_regex": "a+"}, "0.10.2", "the older name, sent as it is"),
    (
        {"guided_choice": ["a", "b"], "guided_regex": "a+"},
        "0.32.0",
        f"one constraint is taken, the first of {codes(vllm.CONSTRAINTS)}",
    ),
    ({"repeat_last_n": 0}, "0.32.0", "switches the penalty off, as on Ollama: vLLM has no window"),
)
"""Values, a version, and why they do not go upstream as they are."""


def vllm_edges() -> str:
    """What becomes of single values that mean something else to vLLM, or nothing."""
    rows = []
    for asked, version, why in EDGES:
        sent = json.dumps(_vllm_fields(asked, version))[1:-1]
        rows.append((code(json.dumps(asked)[1:-1]), version, code(sent) if sent else "not sent", why))
    return table(("asked", "version", "sent", "why"), rows)


def _vllm_fields(asked: Mapping[str, Any], version: str) -> Mapping[str, Any]:
    model = ModelFacts("m", context=8192)
    case = Case(Target("gpu-b", "vllm", version, model), None, "non-thinking")
    backend = vllm.VllmBackend()
    bounds = {name: _bounds(backend, case, name)[name] for name in asked}
    offered = {name: [Candidate(Layer.CLIENT, "request", value)] for name, value in asked.items()}
    return backend.translate(resolve(offered, Edits(bounds=bounds)), case).fields


def _vllm_limits() -> dict[str, str]:
    """The ranges by parameter, each with the first minor version that has it unless all have."""
    found: dict[str, str] = {}
    for minor in range(1, NEWEST_LOOKED_AT):
        case = Case(Target("gpu-b", "vllm", f"0.{minor}.0"), None, "non-thinking")
        since = f" (since 0.{minor})" if minor > 1 else ""
        ranges = [(n, _range(low, high)) for n, low, high, _ in vllm.VllmBackend().limits(case)]
        items = [(n, f"at most {most} items") for n, most, _ in vllm.VllmBackend().item_limits(case)]
        for name, words in (*ranges, *items):
            found.setdefault(name, words + since)
    return found


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return f"{_number(low)} or more"
    return f"{_number(high)} or less" if low is None else f"{_number(low)} to {_number(high)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}".replace("e-0", "e-")


# HTTP


NAMES = {"www-authenticate": "WWW-Authenticate"}
"""Headers that are not written in capitals and hyphens alone."""


def errors() -> str:
    """Every error that a client can meet."""
    rows = []
    for error in SAMPLES:
        name = type(error).__name__
        if not reaches_clients(name):
            continue
        extra = codes(NAMES.get(header, header.title()) for header, _ in error.headers())
        kind, said = error.body()["error"]["type"], error.body()["error"]["code"]
        if name == "UpstreamRefused":
            row = ("its own", "its own", "its own", _when(error), "`Retry-After`, if it sent one")
        elif name == "RejectedByRule":
            row = (f"the rule's; {error.status} by default", code(kind), code(said), _when(error), extra)
        else:
            row = (str(error.status), code(kind), code(said), _when(error), extra)
        rows.append(row)
    return table(("status", "type", "code", "when", "extra headers"), rows)


def reaches_clients(name: str) -> bool:
    """Whether something raises the error, and nothing turns it into another one on the way."""
    if name == "UpstreamUnreachable":  # the gateway's last word on it is NoHealthyUpstream
        return False
    sources = [path for path in PROXY.rglob("*.py") if path.stem != "errors"]
    return any(f"{name}(" in path.read_text() for path in sources)


WHEN: Mapping[str, str] = {"AttuneError": "A fault inside Attune; its log has the details."}


def _when(error: Exception) -> str:
    docstring = " ".join((type(error).__doc__ or "").split())
    return WHEN.get(type(error).__name__, docstring)


TABLES: Mapping[str, Callable[[], str]] = {
    "parameters": support_table,
    "rules reference": rules_reference,
    "rooms": rooms,
    "import order": import_order,
    "layers": layers,
    "spellings": spellings,
    "protected": protected,
    "thinking": thinking,
    "num_ctx": num_ctx,
    "ollama options": ollama_options,
    "ollama gaps": ollama_gaps,
    "vllm names": vllm_names,
    "vllm gaps": vllm_gaps,
    "vllm edges": vllm_edges,
    "vllm efforts": vllm_efforts,
    "errors": errors,
    "settings": settings_table,
}
