"""What proxies report in their heartbeats' ``detail``: live breaker states, what happened lately, and how they stand themselves.

A target's key is ``<organisation id>/<provider>/<endpoint>/<model>``; only the model may hold further slashes. Whoever reads ignores what
it does not understand: a newer proxy may say more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

MAX_TARGETS = 50
MAX_CREDENTIALS = 50
MAX_EVENTS = 40
MAX_EXPOSURES = 200
"""Flags whose exposures a proxy tells: those met most."""
MAX_QUEUES = 20
MAX_DEPLOYMENTS = 200
MAX_OUT = 20
"""Replicas of one deployment that a proxy names as out of rotation: those that have been so longest."""
OPENED, CLOSED, REFUSED = "opened", "closed", "refused"
"""Kinds of events: a breaker opened, it closed, the provider refused its credential."""
STATES = ("closed", "half_open", "open", "forced_closed", "forced_open")


class TargetReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """A target in trouble. state: one of ``STATES``. since_ms: when its breaker left ``closed``, ms since the epoch; 0 while closed.
    resting_until_ms: until when it asked to be left alone, to five seconds. waiting: requests that wait for a place there."""

    key: str
    state: str
    since_ms: int = 0
    resting_until_ms: int = 0
    waiting: int = 0

    def plain(self) -> dict[str, Any]:
        """JSON-able, what says nothing left out."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class TargetEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to a target. number: rises by one in each process. status: of ``refused``. credential: the name of the one
    that was refused, where its endpoint has several."""

    number: int
    kind: str
    key: str
    at_ms: int
    status: int = 0
    credential: str = ""

    def plain(self) -> dict[str, Any]:
        """JSON-able, what says nothing left out."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class CredentialReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one of an endpoint's credentials stands with a proxy. key: ``<organisation id>/<provider>/<endpoint>``. state: of
    ``CREDENTIAL_STATES``. until_ms: its rest's or its token's end, ms since the epoch. text: why, without a secret."""

    key: str
    name: str
    state: str
    until_ms: int = 0
    text: str = ""


CREDENTIAL_STATES = ("token", "waiting", "resting_model", "old_token", "resting", "no_token")
"""The better first. token: it has one. waiting: for its first one. resting_model: left alone for some model. old_token: no new one came,
the old one serves to its end. resting: left alone. no_token: there is none, and why."""


class QueueReport(msgspec.Struct, frozen=True, array_like=True):
    """A route's or target's cap. subject: ``route:<name>`` or ``target:<provider>/<endpoint>/<model>``. waiting: the most that waited at
    once in the last ten seconds. wait_p95_ms: of the last minute; None: nobody had to wait."""

    organisation: str
    subject: str
    running: int
    waiting: int
    wait_p95_ms: float | None = None


class GaugesReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a proxy stands. waiting, wait_p95_ms: of all its queues, as in ``QueueReport``. journal_fill: 0 to 1. lease_room_nano: of
    budgets, what it holds and may still reserve. queues: at most ``MAX_QUEUES``, the longest first."""

    running: int
    waiting: int
    wait_p95_ms: float | None = None
    journal_fill: float = 0.0
    lease_room_nano: int = 0
    queues: list[QueueReport] = []

    def plain(self) -> dict[str, Any]:
        """JSON-able."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class OutReport(msgspec.Struct, frozen=True, array_like=True):
    """A replica that facts name as ready and that a proxy cannot reach. since_ms: when it left the rotation, ms since the epoch."""

    replica: str
    since_ms: int


class DeploymentReport(msgspec.Struct, frozen=True, array_like=True):
    """What a proxy asks of a deployment's replicas. held: requests that wait because nobody is ready. running: that some replica has.
    tokens: outstanding, read and written. asked: requests since the process started. answered_ms: when any of its replicas gave this proxy
    a sign of life the last time, ms since the epoch; 0: never. out: those it cannot reach, at most ``MAX_OUT``; None: an older proxy,
    which does not say."""

    organisation: str
    name: str
    held: int
    running: int
    tokens: int
    asked: int
    answered_ms: int = 0
    out: list[OutReport] | None = None

    def plain(self) -> list[Any]:
        """JSON-able."""
        found: list[Any] = msgspec.to_builtins(self)
        return found


class Place(NamedTuple):
    """A key taken apart."""

    organisation: str
    provider: str
    endpoint: str
    model: str


def place_of(key: str) -> Place | None:
    """A target's key taken apart; None where it is none."""
    parts = key.split("/", 3)
    return Place(*parts) if len(parts) == 4 and all(parts) else None


def targets_in(detail: Mapping[str, Any]) -> list[TargetReport]:
    """The targets that a heartbeat reports; what cannot be read is left out."""
    return _read(detail.get("targets"), TargetReport, MAX_TARGETS)


def credentials_in(detail: Mapping[str, Any]) -> list[CredentialReport]:
    """The credentials that a heartbeat reports; what cannot be read is left out."""
    return [report for report in _read(detail.get("credentials"), CredentialReport, MAX_CREDENTIALS) if report.state in CREDENTIAL_STATES]


def events_in(detail: Mapping[str, Any]) -> list[TargetEvent]:
    """The events that a heartbeat reports; what cannot be read is left out."""
    return _read(detail.get("events"), TargetEvent, MAX_EVENTS)


def gauges_in(detail: Mapping[str, Any]) -> GaugesReport | None:
    """How a proxy says that it stands; None where it says nothing that can be read."""
    try:
        return msgspec.convert(detail.get("gauges"), GaugesReport)
    except msgspec.ValidationError:
        return None


def deployments_in(detail: Mapping[str, Any]) -> list[DeploymentReport]:
    """What a proxy asks of deployments; what cannot be read is left out."""
    return _read(detail.get("deployments"), DeploymentReport, MAX_DEPLOYMENTS)


def exposures_in(detail: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """(flag's id, ``on`` or ``off``) -> how often, since the process started; what cannot be read is left out."""
    found: dict[tuple[str, str], int] = {}
    told = detail.get("exposures")
    for row in told[:MAX_EXPOSURES] if isinstance(told, list) else ():
        if (
            isinstance(row, list)
            and len(row) == 3
            and isinstance(row[0], str)
            and all(type(count) is int and count >= 0 for count in row[1:])
        ):
            found[row[0], "on"], found[row[0], "off"] = row[1], row[2]
    return found


def _read(values: Any, kind: type[Any], most: int) -> list[Any]:
    found = []
    for value in values[:most] if isinstance(values, list) else ():
        try:
            found.append(msgspec.convert(value, kind))
        except msgspec.ValidationError:
            continue
    return found
