"""I/O. What the outside can call.

`edge` is the ASGI edge: bodies in, errors out. `departure` notices clients that leave. `v1` is what OpenAI
clients call, `admin` the control API with one module per resource, `operations` what orchestrators ask,
`auth` who may call.
"""
