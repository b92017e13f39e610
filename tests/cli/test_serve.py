import asyncio
import json
import os
import queue
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Attune
from tests.doubles.ollama import OllamaDouble

PATIENCE = 20.0
"""Seconds that a process may take to start or stop on a busy machine."""


class Started:
    """An `attune` process and what it has printed so far."""

    def __init__(self, *words: str) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ATTUNE_", "OLLAMA_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "proxy", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def until(self, words: str) -> str:
        """What was printed up to the line that holds `words`."""
        seen = ""
        while words not in seen:
            line = self._lines.get(timeout=PATIENCE)
            assert line is not None, f"ended after {seen!r}"
            seen += line
        return seen

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """The exit code and the log."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@contextmanager
def started(*words: str) -> Iterator[Started]:
    process = Started(*words)
    try:
        yield process
    finally:
        process.close()


def address(text: str) -> str:
    found = re.search(r"listens on (http://\S+)", text)
    assert found is not None, text
    return found[1]


async def test_serve_says_where_it_is_and_serves_there(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - {name: cool, set: {temperature: 0.1}}\n")
    async with OllamaDouble() as ollama:
        with started("serve", ollama.url, "--port", "0", "--rules", str(rules)) as attune:
            said = await asyncio.to_thread(attune.until, "stop ")
            url = address(said)
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE) as client:
                ready = await client.get("/readyz")
                body = {"model": next(iter(ollama.models)), "messages": [{"role": "user", "content": "Hi"}]}
                reply = await client.post("/v1/chat/completions", json=body)
            code, _ = await asyncio.to_thread(attune.stop, signal.SIGINT)
        asked = ollama.chats[0]

    assert f'base_url="{url}/v1"' in said
    assert f"--url {url}\n" in said
    assert ollama.url in said
    assert (ready.status_code, reply.status_code) == (200, 200)
    assert reply.headers["x-tuning-rules"] == "cool"
    assert asked.options["temperature"] == 0.1
    assert code == 0


@pytest.mark.parametrize(("command", "upstreams"), [("serve", ["http://127.0.0.1:9"]), ("demo", ["demo"])])
def test_with_json_everything_printed_is_json(command: str, upstreams: list[str]) -> None:
    urls = upstreams if command == "serve" else []
    with started(command, *urls, "--port", "0", "--log-format", "json") as attune:
        line = attune.until("\n")
        said = json.loads(line)
        alive = httpx.get(f"{said['url']}/livez", trust_env=False, timeout=PATIENCE)
        code, log = attune.stop()

    assert said == {"event": "ready", "url": said["url"], "upstreams": upstreams}
    assert alive.status_code == 200
    assert code in (0, -signal.SIGTERM)
    assert all(json.loads(entry)["level"] for entry in log.splitlines())


@pytest.mark.parametrize(
    ("words", "ollama_host", "expected"),
    [
        (("gpu:11434", "https://b.test"), None, ["http://gpu:11434", "https://b.test"]),
        ((), None, ["http://127.0.0.1:11434"]),
        ((), "0.0.0.0:9999", ["http://127.0.0.1:9999"]),
        (("--rules",), "0.0.0.0:9999", ["http://127.0.0.1:9", "http://127.0.0.1:9"]),
    ],
)
def test_the_upstreams_in_use_are_named(
    attune: Attune,
    monkeypatch: pytest.MonkeyPatch,
    rules: str,
    words: tuple[str, ...],
    ollama_host: str | None,
    expected: list[str],
) -> None:
    def run(_: object, ready: Callable[[str], None], *, demo: bool) -> int:
        ready("http://127.0.0.1:8080")
        return 0

    monkeypatch.setattr("proxy.cli.serve.configure", lambda form: None)
    monkeypatch.setattr("proxy.cli.serve.run", run)
    rest = (rules,) if words == ("--rules",) else ()
    environment = {"OLLAMA_HOST": ollama_host}
    line = attune("serve", "--port", "0", "--log-format", "json", *words, *rest, env=environment)
    text = attune("serve", "--port", "0", *words, *rest, env=environment)

    assert json.loads(line.stdout)["upstreams"] == expected
    assert all(f" {url}\n" in text.stdout for url in expected)


def test_an_ollama_host_that_is_none_ends_the_start(attune: Attune) -> None:
    result = attune("serve", "--port", "0", env={"OLLAMA_HOST": "http://user:hunter22@gpu"})

    assert (result.exit_code, result.stdout) == (2, "")
    assert "hunter22" not in result.stderr


def test_a_dead_upstream_does_not_stop_the_start() -> None:
    with started("serve", "http://127.0.0.1:9", "--port", "0") as attune:
        url = address(attune.until("stop "))
        assert httpx.get(f"{url}/livez", trust_env=False, timeout=PATIENCE).status_code == 200
        code, _ = attune.stop()

    assert code in (0, -signal.SIGTERM)


def test_the_demos_first_request_works_as_it_is_printed(tmp_path: Path) -> None:
    with started("demo", "--port", "0") as attune:
        said = attune.until("Ctrl+C")
        command = said[said.index("  curl") : said.index("From Python")].replace("\\\n", " ")
        words = shlex.split(command)
        body = json.loads(words[words.index("-d") + 1])
        headers = dict(h.split(": ") for flag, h in pairwise(words) if flag == "-H")
        reply = httpx.post(words[2], headers=headers, json=body, trust_env=False, timeout=PATIENCE)
        script = tmp_path / "first.py"
        lines = said[said.index("  from openai") : said.index("Ctrl+C")].rstrip().splitlines()
        script.write_text("\n".join(line.removeprefix("  ") for line in lines))
        clean = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        python = subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=clean,
        )

    assert "not a real language model" in said
    assert len(lines) == 8
    assert words[:2] == ["curl", "-i"]
    assert reply.status_code == 200
    assert reply.headers["x-tuning-changed"].startswith("top_p=1.0;clamped-from=1.5")
    assert "min_tokens" in reply.json()["tuning"]["dropped"]
    assert python.returncode == 0, python.stderr
    assert python.stdout.strip()


def test_a_port_in_use_is_said_in_words(attune: Attune) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command in ("serve", "demo"):
            result = attune(command, "--port", port)
            assert (result.exit_code, result.stdout) == (1, "")
            assert f"127.0.0.1 port {port}: the port is in use" in result.stderr


def test_an_address_of_another_machine_is_said_in_words(attune: Attune) -> None:
    result = attune("serve", "--host", "203.0.113.7", "--insecure")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not have that address" in result.stderr


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (("serve", "ftp://127.0.0.1"), {}, "http://"),
        (("serve", "http://user:password@127.0.0.1"), {}, "password"),
        (("serve", "--rules", "/nowhere/rules.yaml"), {}, "/nowhere/rules.yaml:1: no such file or folder"),
        (("serve", "--workers", "2", "--rules", "/nowhere/rules.yaml"), {}, "no such file"),
        (("demo", "--rules", "/nowhere/rules.yaml"), {}, "/nowhere/rules.yaml:1: "),
        (("serve", "--host", "0.0.0.0", "--port", "0"), {}, "--insecure"),
        (("serve",), {"ATTUNE_PORT": "many"}, "ATTUNE_PORT"),
        (("serve",), {"ATTUNE_LOG_FORMAT": "xml"}, "ATTUNE_LOG_FORMAT"),
        (("serve", "--port", "70000"), {}, "70000"),
        (("demo", "http://127.0.0.1:11434"), {}, "unexpected extra argument"),
    ],
)
def test_a_wrong_configuration_ends_the_start(
    attune: Attune, words: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    result = attune(*words, env=environment)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_options_beat_the_environment_and_only_those_that_are_given(
    attune: Attune, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    monkeypatch.setattr("proxy.cli.serve.configure", lambda form: None)
    monkeypatch.setattr(
        "proxy.cli.serve.run", lambda settings, ready, *, demo: seen.update(settings=settings, demo=demo) or 0
    )
    environment = {
        "ATTUNE_PORT": "0",
        "ATTUNE_NUM_CTX": "pin",
        "ATTUNE_WORKERS": "3",
        "ATTUNE_INSECURE": "on",
    }

    assert attune("serve", "--workers", "2", "gpu:11434", env=environment).exit_code == 0
    settings = seen["settings"]
    assert (settings.port, settings.num_ctx, settings.workers, settings.insecure) == (0, "pin", 2, True)
    assert (settings.upstreams, settings.rules, seen["demo"]) == (("gpu:11434",), (), False)

    assert attune("demo", "--host", "localhost", env=environment).exit_code == 0
    assert (seen["settings"].workers, seen["settings"].host, seen["demo"]) == (1, "localhost", True)


def test_the_servers_exit_code_is_the_commands(attune: Attune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.cli.serve.configure", lambda form: None)
    monkeypatch.setattr("proxy.cli.serve.run", lambda *_, demo: 1)

    assert attune("serve", "--port", "0").exit_code == 1
