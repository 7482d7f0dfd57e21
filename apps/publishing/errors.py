"""Errors of publishing.

ServiceError
└── PublishError        the config cannot be published as it is
"""

from __future__ import annotations

from apps.audit.errors import ServiceError


class PublishError(ServiceError):
    """Nothing was published. Names the section, the object and the reason.

    section, object_id: where, empty when it is not about one object. field: the fragment's field, or None.
    """

    def __init__(self, message: str, *, section: str = "", object_id: str = "", field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.section = section
        self.object_id = object_id
