"""Pure. Every error Attune raises, divided by whose fault it is.

    AttuneError
    ├── ClientError                  what the caller sent
    │   ├── BadBody                  400  not JSON, not an object, a field of the wrong shape
    │   ├── BadParameter             400  a generation parameter of the wrong type
    │   ├── StrictViolation          400  strict mode met a clamp or a drop
    │   ├── Unsupported              400  nothing here can do what was asked
    │   ├── UnknownProfile           400
    │   ├── RejectedByRule           4xx  a rule's `reject`
    │   ├── Unauthenticated          401
    │   ├── Forbidden                403
    │   ├── UnknownModel             404
    │   ├── NotFound                 404
    │   ├── MethodNotAllowed         405
    │   ├── BodyTooLarge             413
    │   ├── WrongContentType         415
    │   └── TooManyRequests          429  with Retry-After
    ├── UpstreamError                a server we send to
    │   ├── UpstreamRefused          its own status and message
    │   ├── UpstreamBroken           502  broke off or answered nonsense
    │   ├── UpstreamUnreachable      502  refused or could not be resolved
    │   ├── NoHealthyUpstream        503
    │   └── UpstreamTimeout          504
    ├── Draining                     503  shutting down
    └── ConfigurationError           our own settings or rule files
        └── RuleFault                one fault, with file and line

`code` is always `attune_...` for what Attune itself says, so that people know whom to ask; only
`UpstreamRefused` carries the upstream's words.
"""

from __future__ import annotations

from typing import Any, ClassVar


class AttuneError(Exception):
    """Base of the tree: a message for people, and what the wire needs to say it."""

    status: int = 500
    type: ClassVar[str] = "api_error"
    code: str = "attune_internal_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.decided: tuple[tuple[bytes, bytes], ...] = ()
        """The `X-Tuning-*` headers, when a decision had been made before things went wrong."""

    def body(self) -> dict[str, Any]:
        """The error object in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def headers(self) -> list[tuple[str, str]]:
        """Extra response headers, such as `Retry-After`."""
        return []


class ClientError(AttuneError):
    """The caller's fault."""

    status = 400
    type = "invalid_request_error"
    code = "attune_bad_request"


class BadBody(ClientError):
    """The body is not the JSON object that the endpoint takes."""

    code = "attune_bad_body"


class BadParameter(ClientError):
    """A parameter's value has the wrong type; out-of-range values are clamped instead."""

    code = "attune_bad_parameter"


class StrictViolation(ClientError):
    """A clamp or drop happened to something the client named, and the request is strict."""

    code = "attune_strict"


class Unsupported(ClientError):
    """The request needs something that this runtime cannot do and that may not be dropped."""

    code = "attune_unsupported"


class UnknownProfile(ClientError):
    """The client named a profile that does not exist (or is not theirs)."""

    code = "attune_unknown_profile"


class RejectedByRule(ClientError):
    """A rule's `reject` action; the rule chooses the status."""

    code = "attune_rejected_by_rule"

    def __init__(self, message: str, *, status: int = 403, rules: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.rules = rules
        """The rules that matched."""


class Unauthenticated(ClientError):
    """No key, or one that is not known."""

    status = 401
    type = "authentication_error"
    code = "attune_invalid_api_key"

    def headers(self) -> list[tuple[str, str]]:
        return [("www-authenticate", "Bearer")]


class Forbidden(ClientError):
    """A key without the scope for this call."""

    status = 403
    type = "permission_error"
    code = "attune_forbidden"


class UnknownModel(ClientError):
    """No upstream serves this model."""

    status = 404
    type = "not_found_error"
    code = "attune_unknown_model"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="model")


class NotFound(ClientError):
    """No such path or resource."""

    status = 404
    type = "not_found_error"
    code = "attune_not_found"


class MethodNotAllowed(ClientError):
    """The path exists, the method does not."""

    status = 405
    code = "attune_method_not_allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not allowed here; allowed: {allowed}")
        self.allowed = allowed

    def headers(self) -> list[tuple[str, str]]:
        return [("allow", self.allowed)]


class BodyTooLarge(ClientError):
    """The body is longer than `ATTUNE_MAX_BODY`."""

    status = 413
    code = "attune_body_too_large"


class WrongContentType(ClientError):
    """The body is declared to be something other than JSON."""

    status = 415
    code = "attune_wrong_content_type"


class TooManyRequests(ClientError):
    """An upstream's queue is full."""

    status = 429
    type = "rate_limit_error"
    code = "attune_too_many_requests"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def headers(self) -> list[tuple[str, str]]:
        return [("retry-after", str(self.retry_after))]


class UpstreamError(AttuneError):
    """An upstream's fault."""

    status = 502
    code = "attune_upstream_error"

    retryable: bool = False
    """Whether another upstream (or another try) may still answer, before the first byte."""


class UpstreamRefused(UpstreamError):
    """The upstream answered with an error of its own: its status, its words, OpenAI's shape."""

    def __init__(
        self, status: int, error: dict[str, Any], extra: list[tuple[str, str]] | None = None
    ) -> None:
        super().__init__(str(error.get("message", "")))
        self.status = status
        self.error = error
        self.extra = extra or []

    def body(self) -> dict[str, Any]:
        return {"error": self.error}

    def headers(self) -> list[tuple[str, str]]:
        return self.extra


class UpstreamBroken(UpstreamError):
    """The connection broke, or what came was not an answer."""

    code = "attune_upstream_broken"
    retryable = True


class UpstreamUnreachable(UpstreamError):
    """No connection could be made."""

    code = "attune_upstream_unreachable"
    retryable = True


class NoHealthyUpstream(UpstreamError):
    """Every upstream that serves the model is down."""

    status = 503
    code = "attune_no_healthy_upstream"

    def headers(self) -> list[tuple[str, str]]:
        return [("retry-after", "2")]


class UpstreamTimeout(UpstreamError):
    """A phase took longer than it may: `connect`, `first_byte`, `idle` or `total`."""

    status = 504
    type = "timeout_error"
    code = "attune_upstream_timeout"

    def __init__(self, message: str, *, phase: str) -> None:
        super().__init__(message)
        self.phase = phase
        self.retryable = phase == "connect"


class Draining(AttuneError):
    """The proxy is shutting down and takes no new work."""

    status = 503
    code = "attune_draining"

    def headers(self) -> list[tuple[str, str]]:
        return [("retry-after", "5"), ("connection", "close")]


class ConfigurationError(AttuneError):
    """Our own configuration is wrong."""

    code = "attune_configuration_error"


class RuleFault(ConfigurationError):
    """One fault in a rule file; `str()` gives `file:line: message`."""

    code = "attune_rule_fault"

    def __init__(self, message: str, *, file: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.file else self.message
