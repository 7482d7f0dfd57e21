"""The steps of a request before any upstream is called: pure functions ``(exchange, runtime) -> None | Refusal``."""
