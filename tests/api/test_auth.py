"""Who may call, and where one may listen without a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.api.auth import ADMIN, ANONYMOUS, Auth, admin_key, check_exposure, is_loopback
from proxy.errors import ConfigurationError, Unauthenticated
from proxy.settings import Settings, from_environment

KEY = "correct-horse"


def settings(**values: Any) -> Settings:
    return from_environment({}, **values)


def test_without_a_key_everybody_may_do_everything() -> None:
    auth = Auth(None)
    assert auth.open
    assert auth.caller({}) is ANONYMOUS
    assert auth.caller({b"authorization": b"Bearer whatever"}) is ANONYMOUS


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer correct-horse"},
        {b"authorization": b"bearer correct-horse"},
        {b"authorization": b"BEARER   correct-horse "},
        {b"x-api-key": b"correct-horse"},
        {b"x-api-key": b"correct-horse", b"authorization": b"Basic dTpw"},
        {b"x-api-key": b"correct-horse", b"authorization": b"Bearer "},
    ],
)
def test_the_right_key(headers: dict[bytes, bytes]) -> None:
    auth = Auth(KEY)
    assert not auth.open
    assert auth.caller(headers) is ADMIN


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer correct-horsE"},
        {b"authorization": b"Bearer correct-horse2"},
        {b"authorization": b"Bearer correct"},
        {b"authorization": b"Bearer \xff\xfe"},
        {b"authorization": b"Bearer wrong", b"x-api-key": b"correct-horse"},
        {b"x-api-key": b""},
        {b"x-api-key": b"nope"},
    ],
)
def test_a_wrong_key(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Unauthenticated, match="not known here") as caught:
        Auth(KEY).caller(headers)
    assert caught.value.status == 401
    assert dict(caught.value.headers()) == {"www-authenticate": "Bearer"}
    assert "correct" not in caught.value.message


@pytest.mark.parametrize(
    "headers",
    [{}, {b"authorization": b""}, {b"authorization": b"Bearer"}, {b"authorization": b"correct-horse"}],
)
def test_no_key(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Unauthenticated, match="an API key is needed"):
        Auth(KEY).caller(headers)


def test_a_key_beyond_ascii() -> None:
    assert Auth("schlüssel").caller({b"x-api-key": "schlüssel".encode()}) is ADMIN


# Where the admin key comes from


def test_the_key_from_the_settings_and_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("  from-the-file\n")
    assert admin_key(settings()) is None
    assert admin_key(settings(admin_key="from-the-settings")) == "from-the-settings"
    assert admin_key(settings(admin_key_file=str(file))) == "from-the-file"
    both = settings(admin_key="from-the-settings", admin_key_file=str(file))
    assert admin_key(both) == "from-the-file"


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ATTUNE_ADMIN_KEY_FILE: No such file"):
        admin_key(settings(admin_key_file=str(tmp_path / "none")))


@pytest.mark.parametrize("text", ["", "short", " \n"])
def test_a_key_file_with_too_short_a_key(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match="at least 8 characters"):
        admin_key(settings(admin_key_file=str(file)))


# Where one may listen


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)
    check_exposure(settings(host=host), Auth(None))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_where_others_reach_it_a_key_is_needed(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigurationError, match="no key exists: set ATTUNE_ADMIN_KEY"):
        check_exposure(settings(host=host), Auth(None))
    check_exposure(settings(host=host), Auth(KEY))
    check_exposure(settings(host=host, insecure=True), Auth(None))
