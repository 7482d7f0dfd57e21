"""What of routes is captured, in the document: entries <-> the service and rows. A key's next requests are an act, and in no document."""

from __future__ import annotations

from collections.abc import Mapping

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.routes.selectors import route_named
from apps.usage.capture_models import CaptureRule
from apps.usage.capture_rules import patterns_read
from apps.usage.capture_selectors import capture_patterns
from apps.usage.capture_services import capture_end, capture_patterns_set, capture_route_set
from controlplane.configfile.document import CaptureEntry, RedactionEntry

_FIELDS = {"days": "keep_days"}
"""The service's names of fields that the document calls otherwise."""


def entry_apply(organisation: Organisation, entry: CaptureEntry, *, actor: Actor, reason: str) -> None:
    """Keep the share of the route's requests that the entry says."""
    route = route_named(organisation, entry.route)
    row = CaptureRule.objects.filter(organisation=organisation, route_id=str(route.pk), ended_at=None).first()
    same = row is not None and _share(row) == entry.percent  # as fine as a person typed it, which an entry need not be
    try:
        capture_route_set(
            actor=actor,
            organisation=organisation,
            route_id=str(route.pk),
            route_name=route.name,
            percent=row.percent if row is not None and same else entry.percent / 100,
            days=entry.keep_days,
            reason=reason,
        )
    except ServiceError as error:
        raise ServiceError(error.message, _FIELDS.get(error.field or "", error.field)) from None


def entry_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """Capture the route no more; what is kept stays until it expires. What has ended already stays so."""
    for row in CaptureRule.objects.select_related("organisation").filter(organisation=organisation, route_name=name, ended_at=None):
        capture_end(actor=actor, rule=row, reason=reason)


def entries_of(organisation: Organisation, routes: Mapping[str, str]) -> list[CaptureEntry]:
    """Captures of the routes that are there still; ``routes``: names by id."""
    rows = CaptureRule.objects.filter(organisation=organisation, ended_at=None, key_id="")
    found = [CaptureEntry(route=routes[row.route_id], percent=_share(row), keep_days=row.days) for row in rows if row.route_id in routes]
    return sorted(found, key=lambda entry: entry.route)


def ids_of(organisation: Organisation) -> dict[str, str]:
    """An entry's name -> its capture's id."""
    rows = CaptureRule.objects.filter(organisation=organisation, ended_at=None, key_id="")
    return {row.route_name: str(row.pk) for row in rows}


def redaction_apply(organisation: Organisation, entry: RedactionEntry, *, actor: Actor, reason: str) -> None:
    """Take what the entry describes out of samples, too. Raises ServiceError for a kind or a template that cannot be looked for."""
    standing = capture_patterns(organisation)
    if (entry.kind, entry.template) not in standing:
        try:
            wanted = patterns_read("\n".join([*(f"{kind} = {template}" for kind, template in standing), entry.name]))
        except ServiceError as error:
            raise ServiceError(error.message.partition(": ")[2] or error.message, "template") from None
        capture_patterns_set(actor=actor, organisation=organisation, patterns=wanted, reason=reason)


def redaction_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """Look for it no more in new samples. What is gone already stays gone."""
    standing = capture_patterns(organisation)
    left = [(kind, template) for kind, template in standing if f"{kind} = {template}" != name]
    if left != standing:
        capture_patterns_set(actor=actor, organisation=organisation, patterns=left, reason=reason)


def redactions_of(organisation: Organisation) -> list[RedactionEntry]:
    """In the order in which they are looked for."""
    return [RedactionEntry(kind=kind, template=template) for kind, template in capture_patterns(organisation)]


def redaction_ids(organisation: Organisation) -> dict[str, str]:
    """An entry's name -> what the audit calls it: all of them are one list of the organisation's."""
    return {entry.name: str(organisation.pk) for entry in redactions_of(organisation)}


def _share(row: CaptureRule) -> int:
    """Hundredths of a percent, as proxies know it, too."""
    return round(row.percent * 100)
