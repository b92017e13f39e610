"""Pure. What clients speak: the request, chunks, server-sent events, messages."""
