"""What entries name: teams and services by their slugs; and what services call fields otherwise than the document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

from apps.accounts.models import Organisation
from apps.audit.errors import ServiceError
from apps.ownership.models import Service, Team
from apps.ownership.selectors import service_get
from controlplane.configfile.ownership import team_named


def team_of(organisation: Organisation, slug: str) -> Team:
    """The team that must be there."""
    team = team_named(organisation, slug, "team")
    assert team is not None
    return team


def service_of(organisation: Organisation, text: str) -> Service:
    """The service that must be there."""
    service = service_written(organisation, text)
    assert service is not None
    return service


def service_written(organisation: Organisation, text: str) -> Service | None:
    """The service written as ``team/service``, None for nothing. Raises ServiceError."""
    if not text:
        return None
    team, slash, slug = text.partition("/")
    if not slash:
        raise ServiceError(f"{text!r}: write a service as team/service", "service")
    service = service_get(organisation=organisation, team_slug=team, slug=slug)
    if service is None:
        raise ServiceError(f"there is no service {text!r}: add it under teams", "service")
    return service


@contextmanager
def fields_of(names: Mapping[str, str]) -> Iterator[None]:
    """A service's field names become the document's."""
    try:
        yield
    except ServiceError as error:
        renamed(error, names.get(error.field or "", error.field))


def renamed(error: ServiceError, field: str | None) -> NoReturn:
    """The same refusal, of another field."""
    raise ServiceError(error.message, field) from None
