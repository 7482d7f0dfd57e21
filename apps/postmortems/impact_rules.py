"""From when to when people felt it, and what it hit, by the minute's counts. Pure.

A minute is *hit* where at least ``LEAST`` requests failed and their share is beyond both ``TIMES`` times what is usual and what is
usual plus ``MARGIN``. Usual is the median share of the minutes before; with fewer than ``LEAST_BASELINE`` of them with traffic it is taken
to be zero, and said so. Lone minutes are no impact: it begins with the first of two hit minutes among three. The minute before the first
and the one after the last are part of it where something failed beyond what is usual, however little: what breaks in a minute's last
second breaks for one request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

MINUTE = timedelta(minutes=1)
LEAST = 3
TIMES = 3.0
MARGIN = 0.01
LEAST_BASELINE = 5
BRIDGED = 10
"""So many quiet minutes inside an impact do not end it."""
LASTING = 3
"""Hit within so many last minutes: it goes on."""


@dataclass(frozen=True, slots=True)
class MinuteImpact:
    """One minute from ``at``. attempt_errors: attempts that failed, whatever came of the request. cost_nano: nano-dollars."""

    at: datetime
    requests: int = 0
    failed: int = 0
    attempt_errors: int = 0
    cost_nano: int = 0
    attempts: int = 0
    tokens: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """since, until: whole minutes, until exclusive and None while it goes on. baseline: usual share of failures, 0 to 1. of: ``failed``, or
    ``attempt_errors`` where every request was rescued. why: in one sentence."""

    since: datetime
    until: datetime | None
    baseline: float
    of: str
    why: str


@dataclass(frozen=True, slots=True)
class Part:
    """What one value of a dimension did in the impact and before. bad: failed requests of a route or service, failed attempts of a provider
    or region; of: all of them."""

    value: str
    bad: int
    of: int
    bad_before: int
    of_before: int


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A route, provider, region or service that the data say was hit, and why. share: of its requests, 0 to 1."""

    value: str
    share: float
    bad: int
    why: str


def share_of(bad: int, of: int) -> float:
    """0 where there was nothing."""
    return bad / of if of else 0.0


def baseline_of(minutes: Iterable[MinuteImpact], *, of: str = "failed") -> float | None:
    """The usual share of failures: the median over minutes with traffic; None where those are too few."""
    shares = [share_of(*_counted(one, of)) for one in minutes if _counted(one, of)[1]]
    return median(shares) if len(shares) >= LEAST_BASELINE else None


def hit(minute: MinuteImpact, baseline: float, *, of: str = "failed") -> bool:
    """Whether a minute is beyond what is usual."""
    bad, whole = _counted(minute, of)
    return bad >= LEAST and _beyond(share_of(bad, whole), baseline)


def window_propose(before: Sequence[MinuteImpact], during: Sequence[MinuteImpact], *, noticed: datetime | None = None) -> Window | None:
    """The window that the data propose; None where nothing is beyond what is usual.

    before: minutes that show what is usual. during: minutes without holes in which to look, oldest first; the last ones may not be over.
    noticed: since when the incident is said to be; what was over well before is another story, unless there is no other.
    Requests that failed are looked at first, attempts that failed only where no request did.
    """
    for of in ("failed", "attempt_errors"):
        usual = baseline_of(before, of=of)
        hits = [hit(minute, usual or 0.0, of=of) for minute in during]
        known = sum(minute.at < noticed for minute in during) if noticed is not None else 0
        span = _span(hits, known)
        if span is not None:
            first, last = _edges(during, span, usual or 0.0, of)
            lasts = len(during) - 1 - last < LASTING
            since, until = during[first].at, None if lasts else during[last].at + MINUTE
            return Window(since, until, usual or 0.0, of, _why(during[first : last + 1], hits[first : last + 1], usual, of, lasts))
    return None


def suggested(parts: Iterable[Part], *, attempts: bool = False, most: int = 10) -> list[Suggestion]:
    """The values that were hit, the worst first; attempts: the counts are of attempts."""
    found = []
    for part in parts:
        share, before = share_of(part.bad, part.of), share_of(part.bad_before, part.of_before)
        if not part.value or part.bad < LEAST or not _beyond(share, before):
            continue
        noun = "attempts" if attempts else "requests"
        usual = f"{_percent(before)} in the hour before" if part.of_before else "nothing came in the hour before"
        why = f"{part.bad:,} of {part.of:,} {noun} failed ({_percent(share)}); {usual}"
        found.append(Suggestion(part.value, share, part.bad, why))
    return sorted(found, key=lambda one: (-one.bad, one.value))[:most]


def _span(hits: Sequence[bool], noticed: int) -> tuple[int, int] | None:
    """Indexes of the first and last minute of the longest-hit stretch: two hits among three minutes begin one, ``BRIDGED`` quiet minutes
    end it. noticed: index of the minute since which something is said to be wrong; stretches that reach it come before others."""
    stretches: list[list[int]] = []
    for at, is_hit in enumerate(hits):
        if not is_hit:
            continue
        if stretches and at - stretches[-1][-1] <= BRIDGED:
            stretches[-1].append(at)
        else:
            stretches.append([at])
    lasting = [one for one in stretches if any(later - earlier <= 2 for earlier, later in pairwise(one))]
    if not lasting:
        return None
    best = max([one for one in lasting if one[-1] + BRIDGED >= noticed] or lasting, key=len)
    return best[0], best[-1]


def _edges(minutes: Sequence[MinuteImpact], span: tuple[int, int], usual: float, of: str) -> tuple[int, int]:
    """The span with the minutes beside it in which it began and ended: too few failures for a hit, but not what is usual."""

    def failing(place: int) -> bool:
        return 0 <= place < len(minutes) and _beyond(share_of(*_counted(minutes[place], of)), usual)

    first, last = span
    return first - failing(first - 1), last + failing(last + 1)


def _beyond(share: float, usual: float) -> bool:
    return share > usual * TIMES and share > usual + MARGIN


def _why(minutes: Sequence[MinuteImpact], hits: Sequence[bool], usual: float | None, of: str, lasts: bool) -> str:
    bad, whole = (sum(_counted(one, of)[place] for one in minutes) for place in (0, 1))
    noun = "requests" if of == "failed" else "attempts (every request was rescued)"
    known = f"usual is {_percent(usual)}" if usual is not None else "too little came before to know what is usual"
    ends = "; it goes on" if lasts else ""
    return f"{sum(hits)} of {len(minutes)} minutes were beyond what is usual: {bad:,} of {whole:,} {noun} failed; {known}{ends}."


def _counted(minute: MinuteImpact, of: str) -> tuple[int, int]:
    return (minute.failed, minute.requests) if of == "failed" else (minute.attempt_errors, max(minute.attempts, minute.attempt_errors))


def _percent(share: float) -> str:
    return f"{share * 100:.1f}".rstrip("0").rstrip(".") + " %"
