"""What an operator must know of the installation: each fact with a state and, where something is wrong, what to do about it."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import django
from django.conf import settings
from django.core.checks import Tags, run_checks
from django.db import connection
from django.http import HttpRequest

from apps.audit.checking import chain_checked
from apps.dashboard.redis_watch import redis_state
from apps.dashboard.selectors import fleet_of, shipper_said
from apps.dashboard.verdict import LAG_BAD_MS, LAG_WARNS_MS, SHIPPER_SILENT, Traces
from apps.ui.format import bytes_text, duration
from apps.ui.status import Status, worst
from apps.usage.covering import MINUTE_DAYS
from apps.usage.retention import retention

DISK_WARNS, DISK_BAD = 0.15, 0.05
"""Share of the data directory's disk that is free."""
JOBS_SILENT = timedelta(minutes=25)
"""Background work that runs every ten minutes has not run for this long."""

GOOD, INFO = Status("ok", "OK", "good"), Status("info", "For information", "neutral")
UNKNOWN, WARN, BAD = Status("unknown", "Not known", "unknown"), Status("warn", "Look at this", "warn"), Status("bad", "Act", "bad")


@dataclass(frozen=True, slots=True)
class Fact:
    """One line. ``todo``: what to do, empty where nothing is wrong."""

    name: str
    status: Status
    value: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Installation:
    """Everything, and the worst of it."""

    groups: tuple[Group, ...]

    @property
    def status(self) -> Status:
        return worst(fact.status for group in self.groups for fact in group.facts if fact.status is not INFO)

    @property
    def todos(self) -> list[Fact]:
        return [fact for group in self.groups for fact in group.facts if fact.todo]


def installation(request: HttpRequest, *, now: datetime | None = None) -> Installation:
    """Read everything anew: two small queries beside those of the bar, one question to Redis, a few files."""
    now = now or datetime.now(UTC)
    return Installation(
        (
            Group("What runs", tuple(_running(request, now))),
            Group("Where it is kept", tuple(_stores())),
            Group("How long it is kept", tuple(_retention())),
            Group("Versions", tuple(_versions())),
            Group("Settings", tuple(_settings())),
        )
    )


def _running(request: HttpRequest, now: datetime) -> Iterator[Fact]:
    fleet = fleet_of(request)
    if not fleet.total:
        yield Fact("Proxies", UNKNOWN, "none registered", "Start one: python -m apps.proxy, or “make up” for all of it.")
    elif fleet.current == fleet.total:
        yield Fact("Proxies", GOOD, f"{fleet.current} of {fleet.total} run v{fleet.version}")
    else:
        todo = "Look at Proxies for those that are behind, silent or not ready; their log in DATA_DIR/log says why."
        yield Fact("Proxies", WARN, f"{fleet.current} of {fleet.total} run v{fleet.version}", todo)
    said = shipper_said()
    if said.at is None:
        yield Fact("Shipper", UNKNOWN, "has said nothing on this host", "Run “manage.py shipper” on every host with proxies.")
    elif now - said.at > SHIPPER_SILENT:
        yield Fact("Shipper", BAD, f"silent since {said.at:%H:%M:%S} UTC", "Start “manage.py shipper” again: records wait in the journals.")
    else:
        tone = BAD if said.lag_ms > LAG_BAD_MS or said.state == "failing" else WARN if said.lag_ms > LAG_WARNS_MS else GOOD
        todo = "" if tone is GOOD else said.error or "It works through a backlog; if it does not shrink, look at PostgreSQL's load."
        behind = f"{duration(said.lag_ms * 1000)} behind" if said.lag_ms else "up to date"
        yield Fact("Shipper", tone, f"{said.state}, {behind}", todo)
        yield _traces(said.traces)
    check = chain_checked()
    if check is None:
        yield Fact(
            "Background work",
            UNKNOWN,
            "has not run yet",
            "It runs within ten minutes of a start; if not, start the Celery worker and beat.",
        )
    elif now - check.at > JOBS_SILENT:
        yield Fact(
            "Background work", WARN, f"last ran {check.at:%Y-%m-%d %H:%M} UTC", "Start the Celery worker and beat again, and look at Redis."
        )
    else:
        yield Fact("Background work", GOOD, f"last ran {check.at:%H:%M} UTC")
    if check is not None and check.broken:
        yield Fact(
            "Audit chain", BAD, check.broken, "Somebody wrote to the audit past Bulkhead. Keep the database as it is, and compare a backup."
        )
    elif check is not None:
        yield Fact("Audit chain", GOOD, f"unbroken up to no. {check.head}")


def _traces(said: Traces | None) -> Fact:
    """Whether requests are exported as traces, as the shipper of this host tells."""
    if said is None:
        return Fact("Traces", INFO, "not exported (BULKHEAD_TRACES_URL)")
    done = f"{said.exported:,} requests exported to {said.target}, {said.dropped:,} dropped"
    if said.failing:
        return Fact("Traces", WARN, f"{done}; failing: {said.failing}", "Look at the collector: what waits too long is dropped.")
    todo = "More was chosen than is exported in time: keep less (BULKHEAD_TRACES_KEEP, BULKHEAD_TRACES_SHARE_PERCENT)."
    return Fact("Traces", WARN if said.dropped else GOOD, done, todo if said.dropped else "")


def _stores() -> Iterator[Fact]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database()), pg_is_in_recovery()")
        size, standby = cursor.fetchone()
    yield Fact(
        "PostgreSQL", BAD if standby else GOOD, bytes_text(size),
        "This is a standby: nothing can be written. Point DATABASE_URL at the primary." if standby else "",
    )  # fmt: skip
    redis = redis_state(fresh=True)
    if not redis.watched:
        yield Fact("Redis", UNKNOWN, "none named", "Set REDIS_URL: background work and shared rate limits need it.")
    elif redis.away:
        todo = "Start it again. Until then background work waits; apps' requests go on."
        yield Fact("Redis", BAD, f"does not answer since {redis.since:%H:%M:%S} UTC", todo)
    else:
        yield Fact("Redis", GOOD, f"{bytes_text(redis.used_bytes)} in memory")
    directory = Path(settings.DATA_DIR)
    try:
        disk = shutil.disk_usage(directory)
    except OSError as error:
        yield Fact("Disk", UNKNOWN, f"{directory}: {error.strerror}", "Set BULKHEAD_DATA_DIR to a directory that this process may read.")
    else:
        share = disk.free / disk.total if disk.total else 0.0
        state = BAD if share < DISK_BAD else WARN if share < DISK_WARNS else GOOD
        todo = "" if state is GOOD else "Make room: when it is full, proxies refuse new calls with journal_full."
        yield Fact("Disk of the data directory", state, f"{bytes_text(disk.free)} of {bytes_text(disk.total)} free", todo)
    yield Fact("Journals on this host", INFO, bytes_text(_size(directory / "journal")))


def _size(directory: Path) -> int:
    total = 0
    for path in directory.glob("*/*"):
        try:
            total += path.stat().st_size
        except OSError:  # the shipper deletes segments meanwhile
            continue
    return total


def _retention() -> Iterator[Fact]:
    kept = retention()
    yield Fact("Requests, one by one", INFO, f"{kept.request_days} days")
    yield Fact("Totals by the minute", INFO, f"{kept.minute_days} days; pages draw {MINUTE_DAYS} of them by the minute")
    yield Fact("Totals by the hour", INFO, f"{kept.hour_days} days")
    yield Fact("Totals by the day, config history, audit", INFO, "for good")
    yield Fact("Content of requests", INFO, "only a fingerprint of the input, but for what Capture keeps for its days")


def _versions() -> Iterator[Fact]:
    number = connection.pg_version  # type: ignore[attr-defined]
    yield Fact("Bulkhead", INFO, _bulkhead_version())
    yield Fact(
        "PostgreSQL",
        GOOD if number >= 160_000 else BAD,
        f"{number // 10_000}.{number % 10_000}",
        "" if number >= 160_000 else "Use 16 or newer.",
    )
    yield Fact("Redis", INFO, redis_state().version or "not known")
    yield Fact("Python, Django", INFO, f"{platform.python_version()}, {django.get_version()}")


def _bulkhead_version() -> str:
    try:
        return metadata.version("bulkhead")
    except metadata.PackageNotFoundError:
        import tomllib

        return str(tomllib.loads((Path(settings.BASE_DIR) / "pyproject.toml").read_text())["project"]["version"])


def _settings() -> Iterator[Fact]:
    found = run_checks(tags=[Tags.security])
    for message in found:
        state = BAD if message.is_serious() else WARN
        yield Fact(str(message.id), state, str(message.msg), str(message.hint or ""))
    if not found:
        yield Fact("Secrets", GOOD, "present and private")
    mail = settings.EMAIL_HOST
    yield Fact("Mail server", INFO, mail or "none: invitations are links to copy (set BULKHEAD_SMTP_URL to send them)")
    yield Fact("Environment", INFO, f"{settings.ENVIRONMENT_NAME} (BULKHEAD_ENVIRONMENT_NAME)")
    yield Fact("Data directory", INFO, str(settings.DATA_DIR))
