"""Errors that services raise for people.

    ServiceError                 bad input or an impossible request; the message says what to do
    ├── accounts.PermissionRefused
    └── publishing.PublishError

Forms, API, YAML and commands all show the message as it is.
"""

from __future__ import annotations


class ServiceError(Exception):
    """A service refused. Nothing was changed.

    message: one or two sentences that name what is wrong and what to do about it.
    field: the input field it belongs to, in the service's own argument names; None for the whole request.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message
