"""Pure. A decided request put into its runtime's words, with the system prompt that applies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from proxy import explain
from proxy.backends import BACKENDS
from proxy.backends.backend import UpstreamRequest
from proxy.decider import Incoming, Prepared, encode_headers
from proxy.openai.messages import edit_system


@dataclass(slots=True, eq=False)
class Written:
    """A request as it would go upstream, and the decision in words."""

    request: UpstreamRequest
    prepared: Prepared
    system_source: str | None

    def tuning(self, request_id: str) -> dict[str, Any]:
        """The decision for `tuning` and `explain`."""
        return explain.to_json(self.prepared.decision, request_id, self.request.warnings, self.system_source)

    def explanation(self, request_id: str) -> dict[str, Any]:
        """The decision and where it would be sent, as `POST /api/v1/explain` shows them."""
        body = orjson.loads(self.request.body)
        return {**self.tuning(request_id), "upstream_path": self.request.path, "upstream_body": body}

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The `X-Tuning-*` response headers."""
        warnings = self.request.warnings
        return encode_headers(self.prepared.decision, warnings) if warnings else self.prepared.headers


def write(incoming: Incoming, prepared: Prepared) -> Written:
    """The request for the decision's target. Raises what its runtime cannot say at all."""
    messages, source = system_prompt(incoming, prepared)
    decision = prepared.decision
    request = BACKENDS[decision.target.runtime].write(incoming.chat, decision.plan, messages)
    return Written(request, prepared, source)


def system_prompt(incoming: Incoming, prepared: Prepared) -> tuple[bytes | None, str | None]:
    """The edited messages and where the system prompt comes from; `None` when nothing edits it.

    A profile's prompt is for requests that bring none; rules edit whatever stands then.
    """
    considered = prepared.decision.considered
    edit = considered.effects.system
    profile = considered.profile
    prompt = profile.system_prompt if profile is not None else None
    if prompt is None and not edit.sources:
        return None, None
    source: list[str] = []

    def apply(text: str | None) -> str | None:
        if text:
            source.append("request")
        elif prompt is not None and profile is not None:
            source.append(f"profile {profile.name}")
            text = prompt
        source.extend(edit.sources)
        return edit.apply(text)

    messages = edit_system(bytes(incoming.chat.fields["messages"]), apply)
    return messages, " + ".join(source)
