"""One instance of every error that can reach a client."""

from __future__ import annotations

from proxy import errors as e

SAMPLES: tuple[e.AttuneError, ...] = (
    e.BadBody("words"),
    e.BadParameter("words", param="temperature"),
    e.StrictViolation("words", param="temperature"),
    e.Unsupported("words", param="n"),
    e.UnknownProfile("words", param="profile"),
    e.RejectedByRule("words"),
    e.Unauthenticated("words"),
    e.Forbidden("words"),
    e.UnknownModel("words"),
    e.NotFound("words"),
    e.MethodNotAllowed("GET", "POST"),
    e.BodyTooLarge("words"),
    e.WrongContentType("words"),
    e.TooManyRequests("words", retry_after=3),
    e.UpstreamRefused(418, {"message": "words", "type": "api_error", "param": None, "code": "theirs"}),
    e.UpstreamBroken("words"),
    e.UpstreamUnreachable("words"),
    e.NoHealthyUpstream("words"),
    e.UpstreamTimeout("words", phase="idle"),
    e.Draining("words"),
    e.AttuneError("words"),
)

BASES = (e.ClientError, e.UpstreamError)
"""Raised by nobody: only what is beneath them is."""

OURS = (e.ConfigurationError, e.RuleFault)
"""Said on the command line and in logs, not to clients."""
