"""I/O. Who may call: keys in `Authorization: Bearer` or `x-api-key`.

With no key anywhere, every caller may do everything, and the server listens on loopback only.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from pathlib import Path

from proxy.decision import Caller
from proxy.errors import ConfigurationError, Unauthenticated
from proxy.settings import Settings

ANONYMOUS = Caller()
ADMIN = Caller(user="admin")


class Auth:
    """Tells callers apart."""

    def __init__(self, admin_key: str | None) -> None:
        self._admin = admin_key.encode() if admin_key else None

    @property
    def open(self) -> bool:
        """Whether no key exists, so that everybody may do everything."""
        return self._admin is None

    def caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Who sends a request; `Unauthenticated` for no key or one that is not known."""
        if self._admin is None:
            return ANONYMOUS
        given = _key(headers)
        if given is None:
            raise Unauthenticated("an API key is needed: Authorization: Bearer KEY, or x-api-key")
        if not hmac.compare_digest(given, self._admin):
            raise Unauthenticated("this API key is not known here")
        return ADMIN


def admin_key(settings: Settings) -> str | None:
    """The admin key from the settings or its file."""
    if settings.admin_key_file is None:
        return settings.admin_key
    try:
        key = Path(settings.admin_key_file).read_text().strip()
    except OSError as fault:
        raise ConfigurationError(f"ATTUNE_ADMIN_KEY_FILE: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError("ATTUNE_ADMIN_KEY_FILE: the file is not UTF-8 text") from None
    if len(key) < 8:
        raise ConfigurationError("ATTUNE_ADMIN_KEY_FILE: the key must have at least 8 characters")
    return key


def check_exposure(settings: Settings, auth: Auth) -> None:
    """Refuses to listen where others can reach, as long as nobody needs a key."""
    if not auth.open or settings.insecure or is_loopback(settings.host):
        return
    raise ConfigurationError(
        f"{settings.host} can be reached from other machines and no key exists: set ATTUNE_ADMIN_KEY, "
        "listen on 127.0.0.1, or say --insecure"
    )


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _key(headers: Mapping[bytes, bytes]) -> bytes | None:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and token.strip():
        return token.strip()
    return headers.get(b"x-api-key")
