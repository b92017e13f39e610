"""Pure. The models that the double serves, and what /api/show, /api/tags and /api/ps say of them."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, Self

PART = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
# The runner options, and the values that stand when nobody names them; the context is apart.
RUNNER = {"num_batch": 512, "num_gpu": -1, "main_gpu": None, "use_mmap": None}
RUNNER |= {"num_thread": 0, "draft_num_predict": 0}
# Go's longest duration, in seconds.
FOREVER = 9_223_372_036
MODIFIED = "2026-08-19T10:11:12.131415Z"


def since(version: str, wanted: str) -> bool:
    """Whether ``version`` is at least ``wanted``; a source build (0.0.0) counts as newest."""
    have, need = ([int(part) for part in re.findall(r"\d+", text)][:3] for text in (version, wanted))
    return have >= need or have == [0, 0, 0]


def canonical(name: str) -> str:
    """The name in short form: lower case, tag written out, default host and namespace not. "" if malformed."""
    *spaces, last = name.lower().removesuffix(":local").split("/")
    base, colon, tag = last.partition(":")
    tag = tag if colon else "latest"
    if len(spaces) > 2 or not all(PART.fullmatch(part) for part in [*spaces, base, tag]):
        return ""
    return "/".join([*spaces, f"{base}:{tag}"]).removeprefix("registry.ollama.ai/").removeprefix("library/")


def full_name(name: str) -> str:
    """The name with host, namespace and tag all written out."""
    short = canonical(name)
    return "/".join([*("registry.ollama.ai", "library")[: 2 - short.count("/")], short])


def rfc3339(nanoseconds: int) -> str:
    """A time since the epoch as Go writes it: UTC, trailing zeros of the fraction left out."""
    seconds, rest = divmod(nanoseconds, 10**9)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def go_syntax(value: Any) -> str:
    """A parameter as Go's ``%#v`` prints it after a trip through JSON: all numbers are floats."""
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    number = Decimal(repr(float(value))).normalize()
    power = number.adjusted()
    return f"{number:f}" if -5 < power < 6 or not number else f"{number.scaleb(-power):f}e{power:+03d}"


@dataclass
class Model:
    """One installed model. ``context_length`` is the trained one; ``harmony`` marks gpt-oss."""

    name: str
    capabilities: tuple[str, ...] = ("completion",)
    context_length: int = 4096
    parameters: dict[str, Any] = field(default_factory=dict)
    family: str = "llama"
    format: str = "gguf"
    embedding_length: int = 4096
    harmony: bool = False

    @property
    def mlx(self) -> bool:
        return self.format == "safetensors"

    def entry(self, version: str) -> dict[str, Any]:
        """The model's entry in /api/tags."""
        head = {"name": self.name, "model": self.name, "modified_at": MODIFIED, "size": 4_661_224_676}
        kind = {"parent_model": "", "format": self.format, "family": self.family, "families": [self.family]}
        details = kind | {"parameter_size": "8.0B", "quantization_level": "Q4_K_M"}
        known = {"capabilities": list(self.capabilities)} if since(version, "0.30.0") else {}
        return {**head, "digest": sha256(self.name.encode()).hexdigest(), "details": details, **known}

    def show(self, version: str, verbose: bool) -> dict[str, Any]:
        """The answer of /api/show."""
        pairs = [
            (key, value if isinstance(value, list) else [value]) for key, value in self.parameters.items()
        ]
        lines = [f"{key:<30} {go_syntax(item)}" for key, items in pairs for item in items]
        info = {"general.architecture": self.family, "general.parameter_count": 8_030_261_248}
        info |= {f"{self.family}.context_length": self.context_length}
        info |= {f"{self.family}.embedding_length": self.embedding_length}
        info |= {"tokenizer.ggml.tokens": ["<s>", "</s>", "a", "b", "c", "d"] if verbose else []}
        shown = {"modelfile": f"FROM {self.name}\n", "template": "{{ .Prompt }}", "model_info": info}
        shown |= {"parameters": "\n".join(lines)} if lines else {}
        shown |= {"capabilities": list(self.capabilities)} if since(version, "0.6.4") else {}
        return {**shown, "details": self.entry(version)["details"], "modified_at": MODIFIED}


@dataclass
class LoadedState:
    """A runner in memory: effective context length, the runner options and the shift it was started with.

    ``keep_alive`` is in seconds, ``expires_at`` in seconds since the epoch; infinite means never.
    """

    context_length: int = 4096
    runner: Mapping[str, Any] = field(default_factory=dict)
    shift: bool = True
    keep_alive: float = 300.0
    expires_at: float = float("inf")
    users: int = 0

    @classmethod
    def wanted(cls, model: Model, options: Mapping[str, Any], shift: bool | None, automatic: int) -> Self:
        """The runner that a request wants; ``automatic`` is the context when it names none."""
        asked, lowest = options["num_ctx"], 2048 if "vision" in model.capabilities else 4
        context = automatic if asked is None else min(max(asked, lowest), model.context_length)
        runner = {key: options.get(key, default) for key, default in RUNNER.items()}
        return cls(context, runner, model.family != "deepseek2" if shift is None else shift)

    def serves(self, wanted: Self) -> bool:
        """Whether a request that wants that runner can use this one; an automatic num_gpu never differs."""
        asked = {key: value for key, value in wanted.runner.items() if key != "num_gpu" or value >= 0}
        same = all(self.runner.get(key, RUNNER[key]) == value for key, value in asked.items())
        return same and (self.context_length, self.shift) == (wanted.context_length, wanted.shift)

    def entry(self, model: Model) -> dict[str, Any]:
        """The runner's entry in /api/ps."""
        shown = model.entry("0.0.1")
        del shown["modified_at"]
        leaves = rfc3339(int(min(self.expires_at, time.time() + FOREVER) * 1e9))
        return {
            **shown,
            "expires_at": leaves,
            "size_vram": shown["size"],
            "context_length": self.context_length,
        }


def default_models() -> dict[str, Model]:
    """The default table, by name with tag."""
    text, tools, thinks = ("completion",), ("completion", "tools"), ("completion", "tools", "thinking")
    stops = {"stop": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]}
    qwen = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repeat_penalty": 1}
    rows = [
        Model("llama3:8b", tools, 8192, {"num_keep": 24} | stops),
        Model("llama3.2:1b", tools, 131072, stops, embedding_length=2048),
        Model("qwen3:8b", thinks, 40960, qwen, "qwen3"),
        Model("gpt-oss:20b", thinks, 131072, {"temperature": 1}, "gptoss", harmony=True),
        Model("gemma3:4b", (*text, "vision"), 131072, {"top_k": 64, "top_p": 0.95}, "gemma3"),
        Model("deepseek-r1:8b", (*text, "thinking"), 131072, {"temperature": 0.6}, "qwen3"),
        Model("qwen2.5vl:7b", (*text, "vision"), 128000, {"temperature": 0.0001}, "qwen25vl"),
        Model("nomic-embed-text:latest", ("embedding",), 2048, {}, "nomic-bert", embedding_length=768),
        Model("mlx-model:latest", tools, 32768, {}, format="safetensors"),
        Model("coder:latest", (*text, "insert"), 16384),
        Model("plain:latest"),
    ]
    return {model.name: model for model in rows}
