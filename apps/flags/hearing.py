"""What proxies tell of flags with their heartbeats, taken in: how often requests met them, and overrides made on their hosts meanwhile.

Both are told again and again until they are heard: counts as totals since the process started, of which only what came on top is taken;
overrides with an id of their own, which is audited once. So a lost heartbeat, a late run or two runs at once change nothing.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.registry import event_record
from apps.audit.services import audit_record
from apps.contracts.overrides import Override, overrides_in
from apps.contracts.reports import exposures_in
from apps.flags.choices import OVERRIDE_EVENT
from apps.flags.models import Flag, FlagExposure, FlagExposureMark, HostOverride
from apps.publishing.selectors import ProxyReport, proxy_reports

HEARING_LOCK = 4_611_686_018_427_387_012
KEPT = timedelta(days=90)
"""How long counts by the minute are kept."""
LAST_WORDS = timedelta(days=1)
"""A proxy that is gone is listened to for so long: what it counted last may not be taken yet."""


def proxies_hear(*, now: datetime | None = None) -> tuple[int, int]:
    """(exposures added, overrides that are new or have ended). Two runs at once: the second leaves it to the first."""
    now = now or timezone.now()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [HEARING_LOCK])
            if not cursor.fetchone()[0]:
                return 0, 0
        told = proxy_reports(since=now - LAST_WORDS)
        return _exposures(told, now), _overrides(told, now)


def exposures_forget(*, now: datetime | None = None) -> int:
    """Delete what is older than ``KEPT``; how many rows."""
    return FlagExposure.objects.filter(minute__lt=(now or timezone.now()) - KEPT).delete()[0]


def _exposures(told: list[ProxyReport], now: datetime) -> int:
    heard = {(proxy.boot_id, flag, value): count for proxy in told for (flag, value), count in exposures_in(proxy.detail).items() if count}
    if not heard:
        return 0
    known = {str(pk) for pk in Flag.objects.filter(pk__in={flag for _, flag, _ in heard if _is_id(flag)}).values_list("pk", flat=True)}
    marks = {
        (mark.boot_id, str(mark.flag_id), mark.value): mark.count
        for mark in FlagExposureMark.objects.filter(boot_id__in={boot for boot, _, _ in heard})
    }
    added: Counter[tuple[str, str]] = Counter()
    moved: list[FlagExposureMark] = []
    for (boot, flag, value), count in heard.items():
        more = count - marks.get((boot, flag, value), 0)
        if flag in known and more > 0:
            added[flag, value] += more
            moved.append(FlagExposureMark(boot_id=boot, flag_id=flag, value=value, count=count, taken_at=now))
    FlagExposureMark.objects.bulk_create(
        moved, update_conflicts=True, unique_fields=["boot_id", "flag", "value"], update_fields=["count", "taken_at"], batch_size=1_000
    )
    FlagExposureMark.objects.filter(taken_at__lt=now - 2 * LAST_WORDS).exclude(boot_id__in={proxy.boot_id for proxy in told}).delete()
    rows = sorted(added)
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO flags_flagexposure (flag_id, value, minute, count)"
                " SELECT told.flag, told.value, %s, told.count"
                " FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) AS told (flag, value, count) ORDER BY told.flag, told.value"
                " ON CONFLICT (flag_id, value, minute) DO UPDATE SET count = flags_flagexposure.count + excluded.count",
                [
                    now.replace(second=0, microsecond=0),
                    [flag for flag, _ in rows],
                    [value for _, value in rows],
                    [added[row] for row in rows],
                ],
            )
    return sum(added.values())


def _overrides(told: list[ProxyReport], now: datetime) -> int:
    by_id: dict[str, tuple[Override, ProxyReport, set[str], bool]] = {}
    for proxy in told:
        for override in overrides_in(proxy.detail):
            if not _is_id(override.id) or not _is_id(override.organisation):
                continue
            first, where, names, ended = by_id.get(override.id, (override, proxy, set[str](), True))
            latest = override if override.ended_ms is not None and first.ended_ms is None else first
            by_id[override.id] = (latest, where, names | {proxy.name}, ended and override.ended_ms is not None)
    organisations = {str(one.pk): one for one in Organisation.objects.filter(pk__in={o.organisation for o, _, _, _ in by_id.values()})}
    rows = {str(row.pk): row for row in HostOverride.objects.select_for_update().filter(pk__in=by_id)}
    changed = 0
    for id, (override, proxy, names, ended) in by_id.items():
        organisation = organisations.get(override.organisation)
        if organisation is None:
            continue
        row = rows.get(id)
        if row is None:
            row = _new(override, proxy, organisation, now)
            changed += 1
        row.seen_at, row.proxies = now, sorted({*row.proxies, *names})
        if ended and override.ended_ms is not None and row.ended_at is None:
            row.ended_at = _moment(override.ended_ms)
            _told(row, "override.end", {"ended_at": None}, {"ended_at": row.ended_at})
            changed += 1
        row.save()
    # of those that nobody tells of any more (their host is gone), the end is known all the same
    for row in HostOverride.objects.select_for_update().filter(ended_at=None, until__lte=now).exclude(pk__in=by_id):
        row.ended_at = row.until
        row.save(update_fields=["ended_at"])
        _told(row, "override.end", {"ended_at": None}, {"ended_at": row.ended_at})
        changed += 1
    return changed


def _new(override: Override, proxy: ProxyReport, organisation: Organisation, now: datetime) -> HostOverride:
    row = HostOverride.objects.create(
        id=UUID(override.id),
        organisation=organisation,
        host=proxy.host[:200],
        by=override.by[:200],
        flag_name=override.flag[:80],
        kind=override.kind,
        subject_kind=override.subject,
        subject_id=override.subject_id[:256],
        subject_name=override.subject_name[:256],
        level=override.level,
        on=override.on,
        reason=override.reason[:300],
        made_at=_moment(override.made_ms),
        until=_moment(override.until_ms),
        seen_at=now,
    )
    after = {
        "organisation": organisation.slug,
        "does": override.words(),
        "host": row.host,
        "made_at": row.made_at,
        "until": row.until,
    }
    _told(row, "override.make", {}, after)
    event_record(
        kind=OVERRIDE_EVENT,
        subject_kind="flag" if override.flag_id else "override",
        subject_id=override.flag_id or str(row.pk),
        subject_name=override.flag or override.words()[:80],
        at=row.made_at,
        data={"organisation": str(organisation.pk), "does": override.words(), "host": row.host, "by": row.by, "reason": row.reason},
    )
    return row


def _told(row: HostOverride, action: str, before: dict[str, object], after: dict[str, object]) -> None:
    """Into the audit, in the name of the operator on that host."""
    name = f"{row.by} on {row.host}"
    audit_record(
        actor=Actor(kind="command", id="override", name=name),
        action=action,
        subject_kind="override",
        subject_id=row.pk,
        subject_name=row.flag_name or row.subject_name,
        before=before,
        after=after,
        reason=row.reason,
    )


def _moment(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
