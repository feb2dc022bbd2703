"""The HTTP edge: everything that knows ASGI, and nothing that knows an adapter."""
