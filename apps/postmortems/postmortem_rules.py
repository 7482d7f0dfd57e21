"""When a postmortem is due, whose sign-off counts, and how texts that two people wrote come together. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from apps.postmortems.postmortem_choices import SOON_DAYS, Section

WEEKEND = 5
"""The first day of the week that is none for business, Monday being 0."""
END_OF_DAY = time(23, 59, 59, tzinfo=UTC)


def business_days_after(start: datetime, days: int) -> datetime:
    """The end (UTC) of the last of so many business days after a moment; its own day counts as none. Monday to Friday are business days;
    holidays differ by place and are not left out, so a date may be moved by hand."""
    day = start.astimezone(UTC).date()
    left = max(days, 0)
    while left or day.weekday() >= WEEKEND:
        day += timedelta(days=1)
        if day.weekday() < WEEKEND:
            left = max(left - 1, 0)
    return datetime.combine(day, END_OF_DAY)


def business_days_between(first: date, last: date) -> int:
    """Business days in ``(first, last]``; negative the other way round."""
    if last < first:
        return -business_days_between(last, first)
    whole, rest = divmod((last - first).days, 7)
    return whole * 5 + sum((first + timedelta(days=at)).weekday() < WEEKEND for at in range(1, rest + 1))


def due_state(due_at: datetime, now: datetime, published_at: datetime | None = None) -> str:
    """A key of ``postmortem_choices.DUE``."""
    if published_at is not None:
        return "done" if published_at <= due_at else "late"
    if now > due_at:
        return "overdue"
    return "soon" if business_days_between(now.date(), due_at.date()) <= SOON_DAYS else "later"


@dataclass(frozen=True, slots=True)
class Reminder:
    """Something that somebody has to be told of once. key: the same reminder has the same key. up: to the owner's manager, too."""

    key: str
    up: bool = False


def reminder_of(due_at: datetime, now: datetime) -> Reminder | None:
    """What is to be told of an unpublished postmortem at a moment: two business days before it is due, when it is overdue, and then once
    for each further business day, to the owner's manager, too, from the second on."""
    days = business_days_between(due_at.date(), now.date())
    if now <= due_at:
        return Reminder(f"soon:{due_at:%Y-%m-%d}") if -days <= SOON_DAYS else None
    if days < 1:
        return None
    return Reminder(f"overdue:{due_at:%Y-%m-%d}:{days}", up=days >= 2)


# --- review ---------------------------------------------------------------------------------------------------------------


def missing_sections(sections: Sequence[Section], texts: Mapping[str, str]) -> list[Section]:
    """Required sections in which nothing is written."""
    return [section for section in sections if section.required and not texts.get(section.key, "").strip()]


def may_sign(person: str, *, owner: str, authors: Collection[str]) -> str:
    """Why somebody's sign-off would not count; empty: it does. Two pairs of eyes: whoever wrote or owns it has looked already."""
    if person == owner:
        return "You own it: somebody else has to sign it off."
    if person in authors:
        return "You wrote part of it: somebody who wrote none of it has to sign it off."
    return ""


def signs_lacking(needed: int, signed: Collection[str], *, owner: str, authors: Collection[str]) -> int:
    """How many sign-offs are still missing; those of people who wrote or own it do not count."""
    return max(0, needed - len({person for person in signed if not may_sign(person, owner=owner, authors=authors)}))


# --- two people at one text -----------------------------------------------------------------------------------------------


def text_clean(text: str) -> str:
    """A text as it is kept: line ends as in Unix, nothing that a database cannot hold."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").encode("utf-8", "replace").decode()


def mark_of(text: str) -> str:
    """A short mark of a text, for forms: what it was when somebody began to change it."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Merged:
    """What becomes of texts. changed: sections that are another now. conflicts: sections that somebody else changed since; there the
    current text stays, and ``mine`` has what was sent."""

    texts: dict[str, str]
    changed: tuple[str, ...] = ()
    conflicts: dict[str, str] = field(default_factory=dict)


def merge(
    current: Mapping[str, str], sent: Mapping[str, str], marks: Mapping[str, str], *, mine: Collection[str] = (), own: Collection[str] = ()
) -> Merged:
    """Take over what somebody sent, section by section.

    marks: of each section's text when the person began. mine: sections where their text is to stand whatever was written meanwhile. own:
    sections that this very page of theirs wrote last: a page that keeps itself sends again before it has heard how the last time ended.
    A section whose sent text still has its mark was not touched by them and stays as it is. No text is lost: what is not taken over is in
    ``conflicts``.
    """
    texts, changed, conflicts = dict(current), [], {}
    for key, text in sent.items():
        now, mark = current.get(key, ""), marks.get(key, "")
        if text == now:
            continue
        if key in mine or key in own or (mark and mark_of(now) == mark):
            texts[key] = text
            changed.append(key)
        elif not mark or mark_of(text) != mark:
            conflicts[key] = text
    return Merged(texts, tuple(changed), conflicts)
