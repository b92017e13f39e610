"""Pure. The one place that states which layer wins: a later member beats an earlier one.

`docs/resolution.md` and `attune explain` are made from this enumeration.
"""

from __future__ import annotations

from enum import IntEnum


class Layer(IntEnum):
    """Where a value came from, lowest precedence first."""

    RUNTIME = 1
    VENDOR = 2
    OVERRIDE_RUNTIME = 3
    OVERRIDE_MODEL = 4
    PROFILE = 5
    RULE_DEFAULT = 6
    EXPERIMENT = 7
    CLIENT = 8
    RULE_SET = 9

    @property
    def label(self) -> str:
        """The layer's name in JSON, tables and docs: `rule-default`."""
        return self.name.lower().replace("_", "-")

    @property
    def sent(self) -> bool:
        """Whether a value of this layer goes upstream; `runtime` is what the upstream uses anyway."""
        return self is not Layer.RUNTIME

    @property
    def summary(self) -> str:
        """One line for the docs and for `explain`."""
        return _SUMMARIES[self]


_SUMMARIES = {
    Layer.RUNTIME: "what the upstream says it would use (Modelfile, `generation_config`); shown only",
    Layer.VENDOR: "the model family's recommended values for its mode and task; `ATTUNE_VENDOR_DEFAULTS=off`",
    Layer.OVERRIDE_RUNTIME: "stored for all models of a runtime",
    Layer.OVERRIDE_MODEL: "stored for one model on one runtime, or on any",
    Layer.PROFILE: "the profile that applies",
    Layer.RULE_DEFAULT: "`default` of the matched rules; a later rule wins",
    Layer.EXPERIMENT: "the assigned variant of an experiment",
    Layer.CLIENT: "the request itself; `0`, `false` and `[]` are values, `null` counts as not sent",
    Layer.RULE_SET: "`set` of the matched rules; a later rule wins",
}
