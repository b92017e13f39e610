"""I/O. Where an upstream listens, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from urllib.parse import SplitResult, urlsplit

from proxy.errors import ConfigurationError

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host, port and base path of an upstream."""

    scheme: str
    """`http` or `https`."""
    host: str
    """Name or address, without the brackets of an IPv6 address."""
    port: int
    path: str
    """Prefix of every request's path, without a trailing slash; usually empty."""

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read `http[s]://host[:port][/path]`.

        Raises `ConfigurationError`. Its words repeat nothing of the URL, since any part of one that is
        wrong may be a secret.
        """
        if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
            raise ConfigurationError("an upstream's URL may hold printable ASCII only, and no spaces")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            message = (
                "an upstream's URL cannot be read: is its port 1 to 65535, its IPv6 address in brackets?"
            )
            raise ConfigurationError(message) from None
        _refuse(parts, url)
        if port == 0:
            raise ConfigurationError("an upstream's port must be 1 to 65535")
        path = parts.path.rstrip("/")
        return cls(parts.scheme, parts.hostname or "", port or _DEFAULT_PORTS[parts.scheme], path)

    @property
    def authority(self) -> str:
        """What the `Host` header says: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"


def _refuse(parts: SplitResult, url: str) -> None:
    """Raise `ConfigurationError` for what an upstream's URL may not be or hold."""
    if parts.scheme not in _DEFAULT_PORTS:
        raise ConfigurationError("an upstream's URL must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ConfigurationError("an upstream's URL may not hold a user name or password")
    if "?" in url or "#" in url:
        raise ConfigurationError("an upstream's URL may not hold a query (?) or a fragment (#)")
    if not parts.hostname or "%" in parts.hostname or "\\" in url:
        raise ConfigurationError("an upstream's URL needs a host name or address")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each phase of an exchange may take, in seconds; `None` means without limit."""

    connect: float = 5.0
    """Name lookup, TCP and TLS."""
    first_byte: float | None = 300.0
    """From the request's last byte handed over to the response's head."""
    idle: float | None = 120.0
    """Between two pieces of the body; back-pressure does not count."""
    total: float | None = None
    """From `send` to the end of the body."""
    soonest: float = field(init=False, repr=False, compare=False)
    """The shortest limit after connecting, `inf` without any: nothing can be due before."""

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.first_byte, self.idle, self.total) if limit is not None]
        object.__setattr__(self, "soonest", min(limits, default=inf))
