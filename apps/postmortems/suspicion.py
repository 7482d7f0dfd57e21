"""Which change of the hour before began an incident, ranked, each rank with what speaks for it. Pure.

Points, out of 100: how shortly before it happened (45), what it touched of what is hit (35), what kind of change it is (12), whether it
can be taken back at once (8). What touches nothing that is hit keeps a third; what came after the beginning keeps no points for its time
and a third of the rest, at most 15. The points are no probability: they order what people look at, and say why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

HORIZON = timedelta(hours=1)
SLACK = timedelta(seconds=60)
"""A minute's counts say no more exactly when it began."""
TIME, DIRECT, NEAR, WIDE, REVERSAL = 45.0, 35.0, 26.0, 14.0, 8.0
KEPT = 1 / 3
"""Of the points of what touches nothing that is hit, or came too late."""

PUBLISH, FLIP, BREAKER, NOTICE, TRAFFIC, OVERRIDE, PROXY, PRICE, CREDENTIAL, OTHER = (
    "publish", "flip", "breaker", "notice", "traffic", "override", "proxy", "price", "credential", "other",
)  # fmt: skip
KINDS: dict[str, tuple[float, str]] = {
    NOTICE: (12.0, "the provider itself is known to be in trouble"),
    CREDENTIAL: (12.0, "a provider refuses its credential"),
    TRAFFIC: (10.0, "traffic had another shape"),
    PUBLISH: (9.0, "it changed what proxies do"),
    FLIP: (9.0, "it changed where requests go"),
    OVERRIDE: (9.0, "it changed one host by hand"),
    BREAKER: (6.0, "it shows a target failing, which may be the fault or only its sign"),
    PROXY: (6.0, "a proxy ended"),
    PRICE: (2.0, "it changed money, not answers"),
    OTHER: (3.0, ""),
}
"""Kind -> its points and what they stand for."""


@dataclass(frozen=True, slots=True)
class Affected:
    """What is hit. used: providers that the hit routes use; none of ``routes``: everything is."""

    begin: datetime
    routes: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """Something that changed. key: what it was made of, as in ``TimelineEntry.source``. wide: it touches everything there is.

    undo: how it is taken back, in words, empty where it is not; undo_url: where.
    """

    key: str
    kind: str
    at: datetime
    title: str
    text: str = ""
    who: str = ""
    url: str = ""
    routes: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    wide: bool = False
    undo: str = ""
    undo_url: str = ""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A change with its points, 0 to 100, and the sentences that they rest on, the weightiest first."""

    change: Change
    points: int
    evidence: tuple[str, ...] = field(default=())

    @property
    def word(self) -> str:
        """How much it is suspected."""
        return "strong" if self.points >= 70 else "possible" if self.points >= 40 else "weak"


def suspects(changes: Iterable[Change], affected: Affected, *, most: int = 20) -> list[Suspect]:
    """The changes, the most suspect first; of equal ones the later, which is nearer to the beginning."""
    judged = [judge(change, affected) for change in changes]
    return sorted(judged, key=lambda one: (-one.points, -one.change.at.timestamp(), one.change.key))[:most]


def judge(change: Change, affected: Affected) -> Suspect:
    """One change's points and why."""
    time, when = _time(change.at, affected.begin)
    scope, where = _scope(change, affected)
    kind, what = KINDS.get(change.kind, KINDS[OTHER])
    back = REVERSAL if change.undo else 0.0
    points = time + scope + kind + back
    if not scope:
        points *= KEPT
    if change.at > affected.begin + SLACK:
        points = min(points * KEPT, 15.0)
    said = sorted(((time, when), (scope, where), (kind, what), (back, change.undo)), key=lambda pair: -pair[0])
    return Suspect(change, round(points), tuple(text for _, text in said if text))


def _time(at: datetime, begin: datetime) -> tuple[float, str]:
    lead = begin - at
    if lead < -SLACK:
        return 0.0, f"it came {_span(-lead)} after the beginning, so it did not begin it"
    if lead <= SLACK:
        return TIME, "it happened in the minute in which it began"
    share = max(0.0, 1 - lead / HORIZON)
    return TIME * share, f"it happened {_span(lead)} before the beginning"


def _scope(change: Change, affected: Affected) -> tuple[float, str]:
    for touched, hit, noun in (
        (change.routes, affected.routes, "route"),
        (change.providers, affected.providers, "provider"),
        (change.regions, affected.regions, "region"),
    ):
        both = sorted(touched & hit)
        if both:
            return DIRECT, f"it touched {_named(noun, both)}, which {'is' if len(both) == 1 else 'are'} hit"
    near = sorted(change.providers & affected.used)
    if near:
        return NEAR, f"it touched {_named('provider', near)}, which hit routes use"
    if change.wide:
        return WIDE, "it touched everything there is"
    if not affected.routes and not affected.providers and not affected.regions:
        return WIDE, "nothing is named yet that is hit, so it counts for any change"
    return 0.0, "it touched nothing that is hit"


def _named(noun: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{noun}{'s' if len(names) > 1 else ''} {shown}{more}"


def _span(length: timedelta) -> str:
    minutes = int(length.total_seconds() // 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 120:
        return f"{minutes} minute{'' if minutes == 1 else 's'}"
    hours = minutes // 60
    return f"{hours} hour{'' if hours == 1 else 's'}"
