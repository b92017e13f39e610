"""I/O. The embedded runtime of `attune demo`: a demo runtime, not a real language model.

It lets the proxy's main job run on a machine with nothing else installed. Behind it is a word n-gram built
at start-up from `corpus.txt`, text written for this package; what it says is fluent at best and never a
source of facts. The sampler in front of it is real: every sampling option changes the answer as it should.

Pure: `language_model` (text to logits), `sampler` (logits to a token), `generation` (prompt to answer, step
by step), `embedding`, `wire` and `options` (what Ollama's clients send). I/O: `runtime` (what is loaded, the
pace), `answer` (records with their times), `api` (the endpoints), `server` (the socket).
"""

from proxy.demo.api import create_demo_app
from proxy.demo.server import DemoServer, serve_demo

__all__ = ["DemoServer", "create_demo_app", "serve_demo"]
