"""The status page: who may see it and what it speaks of. Audited. What it says of incidents, their public updates say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.rules import clean_text
from apps.audit.services import audit_record
from apps.ownership.checks import check_line
from apps.postmortems.models import StatusComponent, StatusPage
from apps.postmortems.status_models import AUDIENCES

ACTION = "status_page.change"
MOST_COMPONENTS = 50


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """A component as somebody writes it."""

    name: str
    help: str = ""
    services: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


@transaction.atomic
def status_page_set(
    *,
    actor: Actor,
    organisation: Organisation,
    audience: str,
    title: str,
    text: str = "",
    components: Sequence[ComponentSpec] = (),
    reason: str = "",
) -> StatusPage:
    """The page with exactly these components, in this order. The same again changes nothing. Raises ServiceError."""
    permission_require(actor=actor, action=ACTION, organisation=organisation)
    if audience not in AUDIENCES:
        raise ServiceError(f"{audience!r}: choose one of {', '.join(AUDIENCES)}.", "audience")
    title = check_line(title, what="the page a title", field="title", longest=100)
    text = clean_text(text, 2001)
    if len(text) > 2000:
        raise ServiceError("What stands on top has 2,000 characters at most.", "text")
    if len(components) > MOST_COMPONENTS:
        raise ServiceError(f"A status page has {MOST_COMPONENTS} components at most.", "components")
    wanted = [
        ComponentSpec(
            check_line(one.name, what=f"component {at} a name", field="components", longest=100),
            check_line(one.help, what="a help text", field="components", longest=300, required=False),
            tuple(dict.fromkeys(clean_text(name, 200) for name in one.services if name.strip())),
            tuple(dict.fromkeys(clean_text(name, 200) for name in one.routes if name.strip())),
        )
        for at, one in enumerate(components, start=1)
    ]
    names = [one.name for one in wanted]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ServiceError(f"Two components are called “{twice}”.", "components")
    Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
    page = StatusPage.objects.filter(organisation=organisation).first()
    held = [
        ComponentSpec(row.name, row.help, tuple(row.services), tuple(row.routes))
        for row in StatusComponent.objects.filter(organisation=organisation)
    ]
    before = {"audience": page.audience, "title": page.title, "text": page.text} if page else {}
    after = {"audience": audience, "title": title, "text": text}
    if page is not None and before == after and held == wanted:
        return page
    page, _ = StatusPage.objects.update_or_create(organisation=organisation, defaults=after)
    if held != wanted:
        StatusComponent.objects.filter(organisation=organisation).delete()
        StatusComponent.objects.bulk_create(
            StatusComponent(
                organisation=organisation, position=at, name=one.name, help=one.help, services=list(one.services), routes=list(one.routes)
            )
            for at, one in enumerate(wanted)
        )
    audit_record(
        actor=actor, action=ACTION, subject_kind="status_page", subject_id=organisation.pk, subject_name=title,
        before={**before, "components": [one.name for one in held]}, after={**after, "components": names}, reason=reason,
    )  # fmt: skip
    return page
