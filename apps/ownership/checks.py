"""What people write about ownership, read and judged: one wording for forms, documents and commands. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator, validate_email

from apps.audit.errors import ServiceError
from apps.audit.rules import clean_text
from apps.ownership import choices

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
_PHONE = re.compile(r"\+?[0-9][0-9 ()./-]{3,40}")
LONGEST_RUNBOOK = 100_000
"""Characters."""


def check_slug(what: str, slug: str, field: str = "slug") -> str:
    """``what``: how the error begins, such as ``Team slug``. Raises ServiceError."""
    if not _SLUG.fullmatch(slug):
        raise ServiceError(f"{what} {slug!r}: use 1 to 60 of a-z, 0-9 and -, starting and ending with a letter or digit.", field=field)
    return slug


def check_line(text: str, *, what: str, field: str, longest: int = 200, required: bool = True) -> str:
    """One line of text. Raises ServiceError where it is too long, or missing."""
    text = " ".join(clean_text(text, longest + 1).split())
    if len(text) > longest or (required and not text):
        raise ServiceError(f"Give {what} of at most {longest} characters.", field=field)
    return text


def check_region(name: str) -> str:
    """As endpoints name their region: any short word."""
    name = name.strip()
    if not name or len(name) > 80 or any(sign.isspace() or not sign.isprintable() for sign in name):
        raise ServiceError("Name the region in at most 80 characters without spaces, as its endpoints do.", field="name")
    return name


def check_contact(kind: str, value: str, field: str) -> str:
    """A contact's value in the form of its kind. Raises ServiceError."""
    value = value.strip()
    if kind not in choices.CONTACT_KINDS:
        raise ServiceError(f"{kind!r} is no kind of contact; there are {', '.join(choices.CONTACT_KINDS)}.", field=field)
    if not value or len(value) > 254 or not value.isprintable():
        raise ServiceError("Write the contact in at most 254 characters.", field=field)
    try:
        if kind == "email":
            validate_email(value)
        elif kind == "url":
            URLValidator(schemes=["http", "https"])(value)
    except ValidationError:
        meant = "an email address" if kind == "email" else "an http(s) address"
        raise ServiceError(f"{value!r} is not {meant}.", field=field) from None
    if kind == "phone" and not _PHONE.fullmatch(value):
        raise ServiceError(f"{value!r} is not a phone number: write it as +49 30 1234567.", field=field)
    return value


def check_zone(zone: str) -> str:
    """An IANA name. Raises ServiceError."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ServiceError(f"{zone!r} is no time zone: use a name such as Europe/Berlin or UTC.", field="zone") from None
    return zone


def clock_read(text: str, field: str, *, end: bool = False) -> int:
    """``09:00`` as minutes after midnight; with ``end``, 24:00 is one, too. Raises ServiceError."""
    found = _CLOCK.fullmatch(text.strip())
    minute = int(found[1]) * 60 + int(found[2]) if found and int(found[2]) < 60 else 9999
    if minute > (1440 if end else 1439):
        raise ServiceError(f"{text!r} is no time of day: write it as 09:00{', at most 24:00' if end else ''}.", field=field)
    return minute


def clock_written(minute: int) -> str:
    """``09:00``; the end of a day is ``24:00``."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def days_read(text: str, field: str = "days") -> int:
    """``mon-fri, sun`` as bits, Monday 1; empty means every day. Raises ServiceError."""
    bits = 0
    for part in text.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not part:
            continue
        if first not in choices.DAY_WORDS or (dash and last not in choices.DAY_WORDS):
            raise ServiceError(f"{part!r} are no weekdays: write mon, tue, wed, thu, fri, sat, sun, or mon-fri.", field=field)
        at, until = choices.DAY_WORDS.index(first), choices.DAY_WORDS.index(last or first)
        while True:
            bits |= 1 << at
            if at == until:
                break
            at = (at + 1) % 7
    return bits or 127


def days_written(bits: int) -> str:
    """``mon-fri, sun``; every day is empty."""
    if bits == 127:
        return ""
    days = [day for day in range(7) if bits & 1 << day]
    runs: list[list[int]] = []
    for day in days:
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    words = choices.DAY_WORDS
    return ", ".join(words[run[0]] if len(run) == 1 else f"{words[run[0]]}-{words[run[-1]]}" for run in runs)


def availability_read(text: str, field: str = "availability") -> int:
    """``99.9`` (percent) in 1/100,000. Raises ServiceError for 100 and more: nothing may fail is no promise, but a wish."""
    try:
        value = Decimal(text.strip().rstrip("%").strip().replace(",", ".")) * 1000
    except InvalidOperation:
        raise ServiceError(f"{text!r} is no percentage: write 99.9.", field=field) from None
    if not value.is_finite() or value != int(value) or not 0 < value < 100_000:
        raise ServiceError("Promise more than 0 and less than 100 percent, with at most three decimals.", field=field)
    return int(value)


def check_boundaries(warn: int, page: int) -> None:
    """Shares of the error budget, in percent. Raises ServiceError."""
    if not 0 < warn < page <= 100:
        raise ServiceError("Warn before you page: between 1 and 100 percent of the error budget, warning first.", field="warn_percent")


def check_times(name: str, promised: int | None, warn: int | None, page: int | None) -> None:
    """Milliseconds of a p95: of the time to first token (``ttft``) or to the whole answer (``latency``). Raises ServiceError."""
    if promised is None:
        if warn is not None or page is not None:
            what = "first token" if name == "ttft" else "the whole answer"
            raise ServiceError(f"Promise a time to {what} before saying where to warn and page.", field=f"{name}_ms")
        return
    if warn is None or page is None or not 0 < warn <= page or promised <= 0 or promised > 600_000 or page > 600_000:
        raise ServiceError("Say where to warn and page, warning first, each up to 10 minutes.", field=f"{name}_warn_ms")


def check_text(text: str) -> str:
    """A runbook's text. Raises ServiceError."""
    text = text.replace("\r\n", "\n").replace("\x00", "").strip()
    if len(text) > LONGEST_RUNBOOK:
        raise ServiceError(f"A runbook may have {LONGEST_RUNBOOK:,} characters; this has {len(text):,}. Split it.", field="text")
    return text


def check_runbook(runbook: str) -> str:
    """An http(s) address, the id of a runbook of ours, or nothing."""
    text = runbook.strip()
    if not text:
        return ""
    try:
        return str(UUID(text))
    except ValueError:
        pass
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or len(text) > 300 or any(ord(c) < 33 for c in text):
        raise ServiceError("the runbook is an http(s) address of up to 300 characters, or the id of a runbook", "runbook")
    return text


def check_people(emails: Sequence[str], field: str = "members") -> None:
    """The members of a rotation, in order. Raises ServiceError."""
    if len(emails) > 50:
        raise ServiceError("A rotation may have 50 people.", field=field)
    twice = {email for email in emails if list(emails).count(email) > 1}
    if twice:
        raise ServiceError(f"{', '.join(sorted(twice))} would have two turns in a round: name everybody once.", field=field)
