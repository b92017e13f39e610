"""Attune: an OpenAI-compatible streaming reverse proxy that tunes what it forwards.

The rooms, in the order of a request's way: `openai` (what clients speak), `parameters`
(which value and why), `rules` (rule files), `backends` (one dialect per runtime), `upstream`
(servers we send to), `gateway` (one request's way), `api` (what the outside can call).
"""

__version__ = "0.1.0"
