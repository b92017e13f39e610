"""I/O. The control API of a running proxy, as commands call it."""

from __future__ import annotations

from typing import Any

import click
import httpx

from proxy.errors import (
    ConfigurationError,
    UpstreamBroken,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT = httpx.Timeout(30.0, connect=5.0)


class ProxyClient:
    """One running proxy. Its own errors keep their words and codes; all others say what to do."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = base(url)
        self._headers = {"authorization": f"Bearer {_checked(key)}"} if key else {}

    def get(self, path: str) -> Any:
        """The JSON behind a path of the control API."""
        return self._call("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """The JSON that a call answers with."""
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        try:
            # a proxy named here is reached directly, whatever HTTP_PROXY says
            with httpx.Client(timeout=TIMEOUT, trust_env=False, headers=self._headers) as client:
                reply = client.request(method, f"{self.url}{path}", json=body)
        except httpx.TimeoutException:
            raise UpstreamTimeout(f"{self.url} took too long to answer", phase="total") from None
        except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as fault:
            raise _unreachable(self.url, fault) from None
        except httpx.HTTPError as fault:
            raise UpstreamBroken(f"{self.url} did not answer: {fault}") from None
        return self._read(reply)

    def _read(self, reply: httpx.Response) -> Any:
        try:
            answer = reply.json()
        except ValueError:
            answer = None
        if reply.is_success and answer is not None:
            return answer
        error = answer.get("error") if isinstance(answer, dict) else None
        if isinstance(error, dict):
            raise UpstreamRefused(reply.status_code, error)
        raise UpstreamBroken(
            f"{self.url} answered {reply.status_code} without Attune's JSON: is it a running Attune?"
        )


def base(url: str) -> str:
    """A proxy's address from what people paste: with or without scheme, slash, or a `base_url`'s `/v1`."""
    url = url.strip().rstrip("/").removesuffix("/v1")
    return url if "://" in url else f"http://{url}"


key_option = click.option(
    "--key", envvar="ATTUNE_API_KEY", show_envvar=True, metavar="KEY", help="Key for the running proxy."
)


def _unreachable(url: str, fault: Exception) -> UpstreamUnreachable:
    return UpstreamUnreachable(
        f"no proxy answers at {url} ({fault or type(fault).__name__}): start one with `attune serve`, "
        "or say where it runs with --url"
    )


def _checked(key: str) -> str:
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError("the key holds characters that no key has")
    return key
