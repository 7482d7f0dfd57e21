"""How two pieces of feedback of one key on one request become one: field by field, the later word counts. Pure.

``merged`` is commutative, associative and idempotent, so it does not matter in which order journals are settled, or how often an app
repeats itself. The SQL in ``apps.usage.feedback`` does the same to what is stored (but that of two words of the same microsecond the
one that is stored already stays).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from apps.contracts.feedback import FeedbackRecord

FIELDS = ("score", "reason", "outcome", "tags", "client_ms")


class Word(NamedTuple):
    """What was said of one field. at_us: when, 0: never."""

    at_us: int
    value: Any


class Said(NamedTuple):
    """All that one key said of one request. words: in the order of ``FIELDS``."""

    request: bytes
    key_id: str
    organisation: str
    team: str
    said_us: int
    words: tuple[Word, ...]


NOTHING = Word(0, None)


def said(record: FeedbackRecord) -> Said:
    """One record's words."""
    words = (Word(record.at_us, value) if (value := getattr(record, name)) is not None else NOTHING for name in FIELDS)
    return Said(record.request, record.key_id, record.organisation, record.team, record.at_us, tuple(words))


def merged(one: Said, other: Said) -> Said:
    """Both, of the same key and request. Two words of the same microsecond: the greater as text, so that the order does not matter."""
    later = max(one, other, key=lambda each: (each.said_us, each.organisation, each.team))
    words = tuple(max(a, b, key=lambda word: (word.at_us, repr(word.value))) for a, b in zip(one.words, other.words, strict=True))
    return later._replace(words=words)


def collected(records: Iterable[FeedbackRecord]) -> list[Said]:
    """Each request and key once, in the order in which their rows are locked."""
    found: dict[tuple[bytes, str], Said] = {}
    for record in records:
        new = said(record)
        at = (new.request, new.key_id)
        known = found.get(at)
        found[at] = new if known is None else merged(known, new)
    return [found[at] for at in sorted(found)]
