"""What postmortems of an organisation consist of, and its vocabulary of contributing factors. All audited."""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.alerts.models import AlertChannel
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record, change_record
from apps.keys.models import VirtualKey
from apps.ownership.checks import check_line, check_slug
from apps.postmortems import postmortem_choices as choices
from apps.postmortems.models import Factor, PostmortemTemplate
from apps.postmortems.postmortem_choices import Section
from apps.postmortems.postmortem_selectors import Template, template_now

_KEY = re.compile(r"[a-z][a-z0-9-]{0,39}")
LONGEST_WAIT, MOST_SIGNS, MOST_FACTORS = 60, 5, 300


@transaction.atomic
def template_set(
    *,
    actor: Actor,
    organisation: Organisation,
    sections: Sequence[Section],
    due_days: int = choices.DUE_DAYS,
    sign_offs: int = 1,
    draft_route: str = "",
    draft_key: VirtualKey | None = None,
    tracker: AlertChannel | None = None,
    reason: str = "",
) -> Template:
    """A new version of the template; postmortems that are begun keep theirs. The same again makes none. Raises ServiceError.

    draft_route, draft_key: whom *Propose a draft* asks and which key pays; both or neither. tracker: a channel that hears of action items.
    """
    permission_require(actor=actor, action="postmortem_template.change", organisation=organisation)
    wanted = tuple(_checked(sections))
    if not 1 <= due_days <= LONGEST_WAIT:
        raise ServiceError(f"A postmortem is due within 1 to {LONGEST_WAIT} business days.", "due_days")
    if not 0 <= sign_offs <= MOST_SIGNS:
        raise ServiceError(f"Between 0 and {MOST_SIGNS} people sign a postmortem off; 0 where nobody else is there.", "sign_offs")
    if bool(draft_route) != (draft_key is not None):
        raise ServiceError(
            "A draft takes a route and the key that pays for it: name both, or neither.", "draft_key" if draft_route else "draft_route"
        )
    for thing, field in ((draft_key, "draft_key"), (tracker, "tracker")):
        if thing is not None and thing.organisation_id != organisation.pk:
            raise ServiceError("It belongs to another organisation.", field)
    Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)  # versions are counted one by one
    now = template_now(organisation)
    row = now.row
    facts = {
        "sections": [section.document for section in wanted], "due_days": due_days, "sign_offs": sign_offs,
        "draft_route": draft_route, "draft_key": draft_key.name if draft_key else "", "tracker": tracker.name if tracker else "",
    }  # fmt: skip
    before = {
        "sections": [section.document for section in now.sections], "due_days": now.due_days, "sign_offs": now.sign_offs,
        "draft_route": row.draft_route if row else "", "draft_key": row.draft_key.name if row and row.draft_key else "",
        "tracker": row.tracker.name if row and row.tracker else "",
    }  # fmt: skip
    if facts == before:
        return now
    made = PostmortemTemplate.objects.create(
        organisation=organisation, version=now.version + 1, sections=facts["sections"], due_days=due_days, sign_offs=sign_offs,
        draft_route=draft_route, draft_key=draft_key, tracker=tracker, created_by=actor.name[:500],
    )  # fmt: skip
    changed = {name: value for name, value in before.items() if facts[name] != value}
    audit_record(
        actor=actor, action="postmortem_template.change", subject_kind="postmortem_template", subject_id=organisation.pk,
        subject_name=f"v{made.version}", before=changed, after={name: facts[name] for name in changed}, reason=reason,
    )  # fmt: skip
    return Template(made.version, wanted, due_days, sign_offs, made)


def _checked(sections: Sequence[Section]) -> list[Section]:
    if not 1 <= len(sections) <= choices.MOST_SECTIONS:
        raise ServiceError(f"A template has between 1 and {choices.MOST_SECTIONS} sections.", "sections")
    found: list[Section] = []
    for at, section in enumerate(sections):
        if not _KEY.fullmatch(section.key):
            raise ServiceError(
                f"{section.key!r}: a section's short name is 1 to 40 of a-z, 0-9 and -, and begins with a letter.", "sections"
            )
        if any(section.key == other.key for other in found):
            raise ServiceError(f"Two sections are called {section.key!r}: texts are kept by that name.", "sections")
        title = check_line(section.title, what=f"section {at + 1} a title", field="sections", longest=100)
        help_text = check_line(section.help, what="a help text", field="sections", longest=300, required=False)
        found.append(Section(section.key, title, help_text, section.required))
    return found


def factors_ensure(organisation: Organisation) -> int:
    """Give an organisation without any vocabulary the first one; how many tags. Safe to run at any time, also side by side."""
    if Factor.objects.filter(organisation=organisation).exists():
        return 0
    rows = [Factor(organisation=organisation, slug=one.slug, title=one.title, help=one.help) for one in choices.FACTORS]
    return len(Factor.objects.bulk_create(rows, ignore_conflicts=True))


@transaction.atomic
def factor_set(
    *, actor: Actor, organisation: Organisation, slug: str, title: str, help: str = "", retired: bool = False, reason: str = ""
) -> Factor:
    """The tag with this short name, made where it is missing, else made as given. A retired one is offered no more. Raises ServiceError."""
    permission_require(actor=actor, action="postmortem_template.change", organisation=organisation)
    check_slug("Tag", slug, "slug")
    title = check_line(title, what="the tag a title", field="title", longest=100)
    help = check_line(help, what="a help text", field="help", longest=300, required=False)
    Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
    factors_ensure(organisation)
    row = Factor.objects.filter(organisation=organisation, slug=slug).first()
    if row is None and Factor.objects.filter(organisation=organisation).count() >= MOST_FACTORS:
        raise ServiceError(
            f"A vocabulary has {MOST_FACTORS} tags at most: with more, nothing repeats itself. Retire or reuse some.", "slug"
        )
    before = {"title": row.title, "help": row.help, "retired": row.retired_at is not None} if row else {}
    wanted = {"title": title, "help": help, "retired": retired}
    if row is not None and before == wanted:
        return row
    row = row or Factor(organisation=organisation, slug=slug)
    row.title, row.help = title, help
    row.retired_at = (row.retired_at or clock.now()) if retired else None
    row.save()
    changed = {name: value for name, value in before.items() if wanted[name] != value}
    after = {name: wanted[name] for name in changed} or wanted
    change_record(actor, "factor.update" if before else "factor.create", row, changed, after, reason)
    return row
