"""Pure. The `num_ctx` guard: a context length that differs from the loaded one reloads the model.

Ollama unloads and reloads a model whenever a load-time option changes, which takes seconds to minutes and
makes running requests wait. Clients that disagree about `num_ctx` would do so with every request.
"""

from __future__ import annotations

from proxy.backends.backend import Case, Draft
from proxy.parameters.bounds import UNBOUNDED
from proxy.parameters.catalog import INT32

SMALLEST_BUCKET = 2048


def hold_context(draft: Draft, case: Case) -> None:
    """Holds `num_ctx` by the upstream's policy.

    `pin`: while the model is loaded, its loaded length. `bucket`: a loaded length that is long enough stands;
    otherwise the next power of two, so that a model grows a few times and then stays. `free`: as asked.
    Nothing is held beyond what a value was clamped to, on either side.
    """
    asked = draft.value("num_ctx")
    model, policy = case.target.model, case.target.num_ctx
    if asked is None:
        return
    if model is not None and model.remote:
        draft.drop("num_ctx", "a cloud model's context is not ours to set", "cloud-model")
        return
    if policy == "free":
        return
    floor, ceiling = _ends(case)
    loaded = model.loaded if model is not None else None
    if loaded is not None and floor <= loaded <= ceiling and (policy == "pin" or loaded >= asked):
        draft.hold("num_ctx", loaded, f"num_ctx {policy}: the model is loaded with {loaded}")
    elif policy == "bucket":
        bucket = _bucket(asked, ceiling)
        draft.hold("num_ctx", bucket, f"num_ctx bucket: next size that many requests can share, {bucket}")


def _ends(case: Case) -> tuple[float, float]:
    """The range that the value was clamped to."""
    bounds = case.bounds.get("num_ctx", UNBOUNDED)
    return bounds.low.value if bounds.low else 0, bounds.high.value if bounds.high else INT32


def _bucket(asked: int, ceiling: float) -> int:
    """The smallest power of two that holds `asked`, or the ceiling if that comes first."""
    bucket = SMALLEST_BUCKET
    while bucket < asked:
        bucket *= 2
    return min(bucket, max(int(ceiling), asked))
