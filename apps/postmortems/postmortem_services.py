"""Writing postmortems: beginning one, its texts, who holds the editor, its facts, review, publishing. All audited.

Invariants: no text that somebody sent is lost (it stands in the postmortem, or was set aside beside it); what is published was signed
off as it stands by as many people who did not write it as the template says; a published postmortem changes only by being opened again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.models import User
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.rules import clean_text
from apps.audit.services import change_record
from apps.postmortems import postmortem_choices as choices
from apps.postmortems.incident_selectors import severities_of
from apps.postmortems.models import Factor, Incident, Postmortem, PostmortemSign, PostmortemText
from apps.postmortems.postmortem_rules import business_days_after, mark_of, may_sign, merge, missing_sections, text_clean
from apps.postmortems.postmortem_selectors import lacking_signs, template_now
from apps.postmortems.postmortem_template_services import factors_ensure

TOGETHER = timedelta(minutes=10)
"""What one person writes within so long is one earlier version."""
MOST_VERSIONS = 300


@transaction.atomic
def postmortem_create(*, actor: Actor, incident: Incident, owner: User | None = None, now: datetime | None = None) -> Postmortem:
    """Begin the postmortem of an incident, by the template of now; the same again gives the one that there is.

    Its owner is who is named, else whoever commanded the incident, else whoever declared it. Raises ServiceError for an incident that was
    none, or is part of another one.
    """
    permission_require(actor=actor, action="postmortem.change", organisation=incident.organisation)
    incident = Incident.objects.select_for_update(of=("self",)).select_related("organisation").get(pk=incident.pk)
    known = Postmortem.objects.filter(incident=incident).first()
    if known is not None:
        return known
    if incident.state in ("cancelled", "merged"):
        into = f" Write that of {incident.merged_into.reference}." if incident.merged_into else ""
        raise ServiceError(f"{incident.reference} is {incident.state}: it has no postmortem of its own.{into}", "incident")
    template, now = template_now(incident.organisation), now or clock.now()
    factors_ensure(incident.organisation)
    required = severities_of(incident.organisation)[incident.severity].postmortem
    ended = incident.resolved_at or incident.mitigated_at or now
    row = Postmortem.objects.create(
        organisation=incident.organisation,
        incident=incident,
        template_version=template.version,
        sections=[section.document for section in template.sections],
        sign_offs_needed=template.sign_offs,
        owner=owner or incident.commander or incident.declarer,
        required=required,
        due_at=business_days_after(ended, template.due_days) if required else None,
        detected={"alert": "alert", "drill": "drill"}.get(incident.source, ""),
        trigger="drill" if incident.source == "drill" else "",
        created_by=actor.name[:500],
    )
    after = {"template": template.version, "owner": row.owner.email if row.owner else "", "due_at": row.due_at}
    change_record(actor, "postmortem.create", row, {}, after)
    return row


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of texts that were sent. conflicts: section -> what was sent and not taken over, because somebody else changed it
    meanwhile; aside: the row that keeps it."""

    postmortem: Postmortem
    changed: tuple[str, ...]
    conflicts: dict[str, str]
    aside: PostmortemText | None = None


@transaction.atomic
def texts_save(
    *,
    actor: Actor,
    postmortem: Postmortem,
    texts: Mapping[str, str],
    marks: Mapping[str, str],
    mine: Collection[str] = (),
    page: str = "",
    now: datetime | None = None,
) -> Saved:
    """Take over what somebody wrote, section by section (``postmortem_rules.merge``). The same again changes nothing.

    marks: of each section's text when they began (``mark_of``). mine: sections where theirs is to stand. page: names the open editor that
    sends, which goes on with what it wrote itself. A published postmortem keeps its text: what was sent is set aside, and nothing else
    happens. Raises ServiceError for a text that is too long."""
    row = _locked(actor, postmortem, "postmortem.change")
    now = now or clock.now()
    titles = {section.key: section.title for section in row.parts}
    sent = {key: text_clean(text) for key, text in texts.items() if key in titles}
    for key, text in sent.items():
        if len(text) > choices.MOST_TEXT:
            raise ServiceError(
                f"“{titles[key]}” has {len(text):,} characters; {choices.MOST_TEXT:,} fit. Put long logs beside the incident as an "
                "attachment, and link them. Nothing of what you wrote was thrown away: it is still in the form.",
                f"text-{key}",
            )
    if row.state == choices.PUBLISHED:
        differing = {key: text for key, text in sent.items() if text != row.texts.get(key, "")}
        return Saved(row, (), differing, _aside(actor, row, differing, now) if differing else None)
    own = [key for key, writer in row.writers.items() if page and writer == page]
    merged = merge(row.texts, sent, marks, mine=mine, own=own)
    if merged.changed:
        before, row.texts = row.texts, merged.texts
        row.revision += 1
        row.authors = sorted({*row.authors, actor.id})
        row.writers |= dict.fromkeys(merged.changed, page[:64])
        if row.state == choices.REVIEW:
            row.state, row.submitted_at = choices.DRAFT, None
        row.save(update_fields=["texts", "revision", "authors", "writers", "state", "submitted_at", "changed_at"])
        fresh = _kept(actor, row, before, now)
        if fresh:  # once for each sitting: an autosave is no decision
            change_record(
                actor, "postmortem.write", row, {}, {"revision": row.revision, "sections": [titles[key] for key in merged.changed]}
            )
    aside = _aside(actor, row, merged.conflicts, now) if merged.conflicts else None
    return Saved(row, merged.changed, merged.conflicts, aside)


def _kept(actor: Actor, row: Postmortem, before: Mapping[str, str], now: datetime) -> bool:
    """The texts among the earlier versions; whether a new sitting began."""
    last = PostmortemText.objects.filter(postmortem=row, aside=False).first()
    if last is not None and last.by_id == actor.id and last.begun_at > now - TOGETHER:
        last.number, last.texts, last.at = row.revision, row.texts, now
        last.save(update_fields=["number", "texts", "at"])
        return False
    PostmortemText.objects.create(
        postmortem=row, number=row.revision, texts=row.texts, by=actor.name[:500], by_id=actor.id, begun_at=now, at=now
    )
    old = PostmortemText.objects.filter(postmortem=row, aside=False).values_list("pk", flat=True)[MOST_VERSIONS:]
    PostmortemText.objects.filter(pk__in=list(old)).delete()
    return True


def _aside(actor: Actor, row: Postmortem, texts: Mapping[str, str], now: datetime) -> PostmortemText:
    """What could not be taken over, kept beside the postmortem; one row for each person and sitting."""
    last = PostmortemText.objects.filter(postmortem=row, aside=True, by_id=actor.id, begun_at__gt=now - TOGETHER).first()
    if last is not None and last.texts.keys() <= texts.keys():
        last.texts, last.at, last.number = dict(texts), now, row.revision
        last.save(update_fields=["texts", "at", "number"])
        return last
    return PostmortemText.objects.create(
        postmortem=row, number=row.revision, texts=dict(texts), by=actor.name[:500], by_id=actor.id, begun_at=now, at=now, aside=True
    )


@transaction.atomic
def editor_hold(*, actor: Actor, postmortem: Postmortem, user: User, take: bool = False, now: datetime | None = None) -> User | None:
    """Say that somebody has the editor open. Returns who else has it, None where it is this person now.

    The other one keeps it until they give no more sign of life, or somebody takes it over (``take``). Holding forbids nobody to
    write: the second is told who the first is.
    """
    row = _locked(actor, postmortem, "postmortem.change")
    now = now or clock.now()
    other = row.held_by if row.held_by_id not in (None, user.pk) and row.held_until is not None and row.held_until > now else None
    if other is not None and not take:
        return other
    if other is not None:
        change_record(actor, "postmortem.take_over", row, {"held_by": other.email}, {"held_by": user.email})
    Postmortem.objects.filter(pk=row.pk).update(held_by=user, held_until=now + choices.LEASE)
    return None


@transaction.atomic
def editor_release(*, actor: Actor, postmortem: Postmortem, user: User) -> None:
    """Say that somebody closed the editor; nothing where somebody else has it."""
    permission_require(actor=actor, action="postmortem.change", organisation=postmortem.organisation)
    Postmortem.objects.filter(pk=postmortem.pk, held_by=user).update(held_by=None, held_until=None)


@transaction.atomic
def facts_set(
    *,
    actor: Actor,
    postmortem: Postmortem,
    owner: User | None,
    trigger: str,
    detected: str,
    factors: Sequence[str],
    due_at: datetime | None = None,
    reason: str = "",
) -> Postmortem:
    """Who sees to it, what set it off, how it was noticed, which factors contributed (short names), and until when. Raises ServiceError."""
    row = _locked(actor, postmortem, "postmortem.change")
    _unpublished(row)
    if trigger not in choices.TRIGGERS:
        raise ServiceError(f"{trigger!r} is no trigger: choose one of {', '.join(filter(None, choices.TRIGGERS))}.", "trigger")
    if detected not in choices.DETECTED:
        raise ServiceError(f"{detected!r} is no way of noticing: choose one of {', '.join(filter(None, choices.DETECTED))}.", "detected")
    if owner is not None and (not owner.is_active or not owner.memberships.filter(organisation=row.organisation).exists()):
        raise ServiceError(f"{owner.email} left, or does not belong to {row.organisation.name}: choose somebody who is here.", "owner")
    wanted = list(dict.fromkeys(factors))
    held = set(row.factors.values_list("slug", flat=True))
    tags = {tag.slug: tag for tag in Factor.objects.filter(organisation=row.organisation, slug__in=wanted)}
    unknown = [slug for slug in wanted if slug not in tags or (tags[slug].retired_at and slug not in held)]
    if unknown:
        raise ServiceError(f"{unknown[0]!r} is not in the vocabulary: add it there first, or choose one that is.", "factors")
    if row.required and due_at is None:
        raise ServiceError("Incidents of this severity need a postmortem: say until when.", "due_at")
    before = _facts(row, sorted(held))
    row.owner, row.trigger, row.detected, row.due_at = owner, trigger, detected, due_at
    after = _facts(row, sorted(wanted))
    if before == after:
        return row
    row.save(update_fields=["owner", "trigger", "detected", "due_at", "changed_at"])
    row.factors.set(tags.values())
    changed = {name: value for name, value in before.items() if after[name] != value}
    change_record(actor, "postmortem.update", row, changed, {name: after[name] for name in changed}, clean_text(reason, 2000))
    return row


def _facts(row: Postmortem, factors: list[str]) -> dict[str, Any]:
    owner = row.owner.email if row.owner else ""
    return {"owner": owner, "trigger": row.trigger, "detected": row.detected, "due_at": row.due_at, "factors": factors}


@transaction.atomic
def postmortem_submit(*, actor: Actor, postmortem: Postmortem, now: datetime | None = None) -> Postmortem:
    """Ask for a review. Raises ServiceError that names what is still missing; nothing that was written is lost by it."""
    row = _locked(actor, postmortem, "postmortem.change")
    _unpublished(row)
    if row.state == choices.REVIEW:
        return row
    missing = [f"“{section.title}”" for section in missing_sections(row.parts, row.texts)]
    if not row.trigger:
        missing.append("what set it off")
    if not row.detected:
        missing.append("how it was noticed")
    if not row.factors.exists():
        missing.append("at least one contributing factor")
    if row.owner is None:
        missing.append("an owner")
    if not row.take:
        missing.append("the evidence: take it once")
    if missing:
        raise ServiceError(f"Still missing before somebody can review it: {', '.join(missing)}.", "sections")
    row.state, row.submitted_at = choices.REVIEW, now or clock.now()
    row.save(update_fields=["state", "submitted_at", "changed_at"])
    change_record(actor, "postmortem.submit", row, {"state": choices.DRAFT}, {"state": choices.REVIEW, "revision": row.revision})
    return row


@transaction.atomic
def postmortem_sign(
    *, actor: Actor, postmortem: Postmortem, note: str = "", revision: int | None = None, now: datetime | None = None
) -> PostmortemSign:
    """Sign off the text as it stands. revision: the one that the person read. A second time changes nothing. Raises ServiceError for
    somebody who wrote or owns it, and where it changed meanwhile."""
    row = _locked(actor, postmortem, "postmortem.sign")
    if row.state != choices.REVIEW:
        raise ServiceError("Nobody asked for a review: its authors do, once everything is written.", "state")
    if revision is not None and revision != row.revision:
        raise ServiceError("The text changed after you opened it: read it again, then sign.", "revision")
    refused = may_sign(actor.id, owner=str(row.owner_id or ""), authors=row.authors)
    if refused:
        raise ServiceError(refused, "person")
    sign, new = PostmortemSign.objects.get_or_create(
        postmortem=row,
        revision=row.revision,
        person=actor.id,
        defaults={"by": actor.name[:500], "note": clean_text(note, 2000), "at": now or clock.now()},
    )
    if new:
        change_record(actor, "postmortem.sign", row, {}, {"revision": row.revision}, clean_text(note, 2000))
    return sign


@transaction.atomic
def postmortem_publish(*, actor: Actor, postmortem: Postmortem, now: datetime | None = None) -> Postmortem:
    """Let it stand, with the evidence that it has. Raises ServiceError without enough sign-offs, or while evidence is taken."""
    row = _locked(actor, postmortem, "postmortem.change")
    if row.state == choices.PUBLISHED:
        return row
    if row.state != choices.REVIEW:
        raise ServiceError("Ask for a review first.", "state")
    if row.taking is not None:
        raise ServiceError("Its evidence is being taken at this moment: publish once that is done.", "take")
    lacking = lacking_signs(row)
    if lacking:
        who = "one more person who did not write it has" if lacking == 1 else f"{lacking} more people who did not write it have"
        raise ServiceError(f"{who[:1].upper()}{who[1:]} to sign it off.", "signs")
    row.state, row.published_at, row.published_by = choices.PUBLISHED, now or clock.now(), actor.name[:500]
    row.held_by = row.held_until = None
    row.save(update_fields=["state", "published_at", "published_by", "held_by", "held_until", "changed_at"])
    after = {"state": choices.PUBLISHED, "revision": row.revision, "evidence": row.take, "text": mark_of(repr(sorted(row.texts.items())))}
    change_record(actor, "postmortem.publish", row, {"state": choices.REVIEW}, after)
    return row


@transaction.atomic
def postmortem_reopen(*, actor: Actor, postmortem: Postmortem, reason: str) -> Postmortem:
    """Make it a draft again; sign-offs count no more once its text changes. Raises ServiceError without a reason."""
    row = _locked(actor, postmortem, "postmortem.change")
    if row.state == choices.DRAFT:
        return row
    if not reason.strip():
        raise ServiceError("Say why it is opened again.", "reason")
    before, row.state, row.published_at, row.published_by, row.submitted_at = row.state, choices.DRAFT, None, "", None
    row.save(update_fields=["state", "published_at", "published_by", "submitted_at", "changed_at"])
    change_record(actor, "postmortem.reopen", row, {"state": before}, {"state": choices.DRAFT}, clean_text(reason, 2000))
    return row


def _locked(actor: Actor, postmortem: Postmortem, action: str) -> Postmortem:
    """The row, locked, where the person may."""
    permission_require(actor=actor, action=action, organisation=postmortem.organisation)
    rows = Postmortem.objects.select_for_update(of=("self",)).select_related("organisation", "incident", "owner", "held_by")
    return rows.get(pk=postmortem.pk)


def _unpublished(row: Postmortem) -> None:
    if row.state == choices.PUBLISHED:
        raise ServiceError("It is published: open it again first, with a reason.", "state")
