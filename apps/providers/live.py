"""Targets as the proxies see them right now: breakers that are not closed, targets that rest or that requests wait for.

Read from the proxies' heartbeats, some seconds old at most; the worst of all proxies counts. A proxy that has fallen silent keeps what it
said last: it may be so still, and nobody knows better.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from apps.contracts.reports import CREDENTIAL_STATES as REPORTED
from apps.contracts.reports import STATES, Place, TargetReport, credentials_in, place_of, targets_in
from apps.providers.choices import BREAKER_STATES, CREDENTIAL_STATES
from apps.ui.status import Status

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


@dataclass(frozen=True, slots=True)
class LiveTarget:
    """A target in trouble. state: the worst of all proxies. proxies: how many of ``total`` say so. since: the earliest of them."""

    place: Place
    state: str
    proxies: int
    total: int
    since: datetime | None
    resting_until: datetime | None
    waiting: int

    @property
    def label(self) -> str:
        """Provider, endpoint and model."""
        return f"{self.place.provider}/{self.place.endpoint}/{self.place.model}"

    @property
    def status(self) -> Status:
        """Its breaker's state; where that is closed, why it is here all the same."""
        if self.state != "closed":
            return BREAKER_STATES[self.state]
        return BREAKER_STATES["resting" if self.resting_until is not None else "waiting"]

    @property
    def text(self) -> str:
        """On how many proxies, and who waits: ``on 2 of 4 proxies, 3 requests wait``."""
        words = [f"on {self.proxies} of {self.total} {'proxy' if self.total == 1 else 'proxies'}"]
        if self.waiting:
            words.append(f"{self.waiting:,} {'request waits' if self.waiting == 1 else 'requests wait'}")
        return ", ".join(words)


def live_targets(organisation: Organisation, details: Sequence[Mapping[str, Any]]) -> list[LiveTarget]:
    """The organisation's targets in trouble, the worst first. details: of every proxy that is not gone (``proxy_details``)."""
    said: dict[str, list[TargetReport]] = {}
    for detail in details:
        for report in targets_in(detail):
            said.setdefault(report.key, []).append(report)
    own = str(organisation.pk)
    found = []
    for key, reports in said.items():
        place = place_of(key)
        if place is not None and place.organisation == own:
            found.append(_worst(place, reports, len(details)))
    return sorted(found, key=lambda target: (-_rank(target.state), target.label))


@dataclass(frozen=True, slots=True)
class LiveCredential:
    """How a credential of an endpoint stands: the worst that a proxy says. until: its rest's or its token's end."""

    endpoint: str
    name: str
    state: str
    until: datetime | None
    text: str

    @property
    def status(self) -> Status:
        """For pages."""
        return CREDENTIAL_STATES[self.state]


def live_credentials(
    organisation: Organisation, provider: str, details: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], LiveCredential]:
    """What proxies say of a provider's credentials, by (endpoint, credential)."""
    worst: dict[tuple[str, str], LiveCredential] = {}
    before = f"{organisation.pk}/{provider}/"
    for report in (report for detail in details for report in credentials_in(detail)):
        if not report.key.startswith(before):
            continue
        at = (report.key.removeprefix(before), report.name)
        known = worst.get(at)
        if known is None or REPORTED.index(report.state) > REPORTED.index(known.state):
            until = moment(report.until_ms) if report.until_ms else None
            worst[at] = LiveCredential(at[0], at[1], report.state, until, report.text)
    return worst


def at_place(targets: Iterable[LiveTarget], *, provider: str, model: str, endpoint: str = "") -> LiveTarget | None:
    """The target at a place; without an endpoint at any of the provider's, the worst."""
    for target in targets:
        place = target.place
        if place.provider == provider and place.model == model and endpoint in ("", place.endpoint):
            return target
    return None


def _worst(place: Place, reports: Sequence[TargetReport], total: int) -> LiveTarget:
    state = max((report.state for report in reports), key=_rank)
    same = [report for report in reports if report.state == state]
    since = min((report.since_ms for report in reports if report.since_ms), default=0)
    resting = max(report.resting_until_ms for report in reports)
    return LiveTarget(
        place=place,
        state=state if state in STATES else "closed",
        proxies=len(same),
        total=total,
        since=moment(since) if since else None,
        resting_until=moment(resting) if resting else None,
        waiting=sum(max(0, report.waiting) for report in reports),
    )


def _rank(state: str) -> int:
    return STATES.index(state) if state in STATES else -1


def moment(ms: int) -> datetime:
    """Milliseconds since the epoch as a moment."""
    return datetime.fromtimestamp(ms / 1000, UTC)
