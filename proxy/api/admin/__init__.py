"""I/O. The control API: one module per resource, listed in `routes`."""

from __future__ import annotations

from proxy.api.admin.explain import explain
from proxy.api.admin.models import models
from proxy.api.admin.parameters import parameters, tasks
from proxy.api.admin.resource import Resource
from proxy.api.admin.rules import reload, rules
from proxy.api.admin.upstreams import upstreams

RESOURCES: tuple[tuple[str, str, Resource], ...] = (
    ("POST", "/api/v1/explain", explain),
    ("GET", "/api/v1/models", models),
    ("GET", "/api/v1/parameters", parameters),
    ("GET", "/api/v1/rules", rules),
    ("POST", "/api/v1/rules/reload", reload),
    ("GET", "/api/v1/tasks", tasks),
    ("GET", "/api/v1/upstreams", upstreams),
)
"""Method, path and what answers."""
