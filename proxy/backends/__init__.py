"""Pure. One dialect per runtime: request out, answer in, no I/O.

`backend` states what a dialect is; `ollama` translates to the native API, `vllm` and `openai` keep OpenAI's
bytes and change only what must change; `failure` turns every error shape into OpenAI's.
"""

from __future__ import annotations

from proxy.backends.backend import Backend
from proxy.backends.ollama import OllamaBackend
from proxy.backends.openai import OpenAIBackend
from proxy.backends.vllm import VllmBackend

BACKENDS: dict[str, Backend] = {b.runtime: b for b in (OllamaBackend(), VllmBackend(), OpenAIBackend())}
"""Runtime -> its dialect."""
