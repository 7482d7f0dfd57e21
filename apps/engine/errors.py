"""What an engine answers instead of an answer, in OpenAI's shape.

::

    EngineError
    ├── Refused          400, 404, 413, 415: the request is the caller's to change; ``param`` names the field
    │   └── Unsupported  400: valid elsewhere, and this engine does not do it
    ├── Unauthorized     401
    ├── Busy             503, with Retry-After: the line is full, the model loads, or the engine shuts down
    └── Broken           500: the engine's fault; its log says more

A model that cannot be served at all is ``UnfitModel``: the process says why and ends with code 3.
"""

from __future__ import annotations


class EngineError(Exception):
    """Becomes ``{"error": {message, type, param, code}}``. headers: besides what every answer has."""

    status = 500
    type = "server_error"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param

    def body(self) -> dict[str, object]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class Refused(EngineError):
    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message, code=code, param=param)
        self.status = status


class Unsupported(Refused):
    """param: the field."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message, param=param, code="unsupported_parameter")


class Unauthorized(EngineError):
    status = 401
    type = "authentication_error"
    headers = ((b"www-authenticate", b"Bearer"),)

    def __init__(self) -> None:
        super().__init__("This engine demands its bearer token, and the request carries none or another.", code="invalid_api_key")


class Busy(EngineError):
    status = 503

    def __init__(self, message: str, *, code: str, retry_after: int = 1) -> None:
        super().__init__(message, code=code)
        self.headers = ((b"retry-after", str(retry_after).encode()),)


class Broken(EngineError):
    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message, code="engine_error")


class UnfitModel(Exception):
    """A model that this engine will not load; the message says why and what to do."""
