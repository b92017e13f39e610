"""Pure. The `options` of a request: types as Ollama checks them, three layers, the later winning per key.

Keys match exactly; unknown ones are ignored, and so are those that only concern loading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.demo.sampler import SamplingOptions
from proxy.demo.wire import Refused, kind

MIN_NUM_CTX = 4
TRAINED_CONTEXT = 8192
DEFAULT_NUM_CTX = 4096

MODEL_PARAMETERS: dict[str, float | int] = {"temperature": 0.7, "top_p": 0.9, "repeat_penalty": 1.1}
"""What the demo models set, as a Modelfile would; a request's options win over it."""

_FLOATS = (
    "temperature top_p min_p typical_p repeat_penalty presence_penalty frequency_penalty "
    "mirostat_tau mirostat_eta"
)
_INTEGERS = (
    "seed num_predict top_k repeat_last_n mirostat num_keep num_ctx num_batch num_gpu main_gpu num_thread"
)
_BOOLEANS = "use_mmap low_vram f16_kv logits_all vocab_only use_mlock"
_OPTION_TYPES: dict[str, str] = (
    dict.fromkeys(_FLOATS.split(), "float32")
    | dict.fromkeys(_INTEGERS.split(), "integer")
    | dict.fromkeys(_BOOLEANS.split(), "boolean")
    | {"stop": "array"}
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one request after all layers."""

    sampling: SamplingOptions
    seed: int = -1
    """-1: another one each time."""
    num_predict: int = -1
    num_ctx: int = DEFAULT_NUM_CTX
    """Within `MIN_NUM_CTX` and `TRAINED_CONTEXT`."""
    stop: tuple[str, ...] = ()


def read_options(requested: Mapping[str, Any]) -> Options:
    """Defaults, the model's parameters, the request: the later wins, null is skipped; 500 for a bad type."""
    merged: dict[str, Any] = dict(MODEL_PARAMETERS)
    for name, value in requested.items():
        if name in _OPTION_TYPES and value is not None:
            merged[name] = _OPTION_READERS[_OPTION_TYPES[name]](name, value)
    sampling = {name: merged[name] for name in SamplingOptions.__slots__ if name in merged}
    num_ctx = min(max(merged.get("num_ctx", DEFAULT_NUM_CTX), MIN_NUM_CTX), TRAINED_CONTEXT)
    return Options(
        sampling=SamplingOptions(**sampling),
        seed=merged.get("seed", -1),
        num_predict=merged.get("num_predict", -1),
        num_ctx=num_ctx,
        stop=tuple(merged.get("stop", ())),
    )


def _read_float(name: str, value: Any) -> float:
    if kind(value) != "number":
        raise Refused(500, f'option "{name}" must be of type float32')
    return float(value)


def _read_integer(name: str, value: Any) -> int:
    if kind(value) != "number":
        raise Refused(500, f'option "{name}" must be of type integer')
    return int(value)


def _read_boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refused(500, f'option "{name}" must be of type boolean')
    return value


def _read_strings(name: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise Refused(500, f'option "{name}" must be of type array')
    if not all(isinstance(item, str) for item in value):
        raise Refused(500, f'option "{name}" must be of an array of strings')
    return value


_OPTION_READERS: dict[str, Callable[[str, Any], Any]] = {
    "float32": _read_float,
    "integer": _read_integer,
    "boolean": _read_boolean,
    "array": _read_strings,
}


def show_parameters() -> str:
    """`MODEL_PARAMETERS` as /api/show prints them: names padded to 30 columns, one per line."""
    return "\n".join(f"{name:<30} {value}" for name, value in MODEL_PARAMETERS.items())
