"""A day on an accelerated clock: an hour of the Azure trace, again and again, with a scripted day of faults, and the same day without them.

Records are settled minute by minute as the shipper does, the alert windows follow the data's clock, and each default rule must fire for its
fault, when it should, and for nothing else. What budgets read of Postgres' clock is answered by a function of the same name, earlier on the
path. Every ``STEP``-th row of the trace is used; the clean organisation has the same rows.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import connection

from apps.accounts.models import Organisation
from apps.accounts.services import organisation_ensure
from apps.alerts.evaluation import SETTLES, evaluate
from apps.alerts.models import AlertEvent
from apps.audit.actors import Actor
from apps.budgets.models import Budget, BudgetWindow
from apps.budgets.services import budget_set
from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.usage import Attempt, Outcome, Tokens, UsageRecord
from apps.providers.models import Provider
from apps.usage.anomalies import runaways_keep
from apps.usage.gauges import Sample, gauges_record
from tests.accept.conftest import FULL, MATERIAL
from tests.budgets.performance_usage import settle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3_600),
    pytest.mark.django_db,
    pytest.mark.skipif(not FULL, reason="a week of traffic and a day by the minute take minutes: make accept (BULKHEAD_ACCEPT=1)"),
]

STEP = 12
HISTORY_DAYS = 7
DAY = datetime(2026, 3, 4, tzinfo=UTC)
"""A Wednesday."""
NANO_PER_TOKEN = 2_000
TRACE = MATERIAL / "traces" / "azure" / "AzureLLMInferenceTrace_conv.csv"


@dataclass(frozen=True)
class Fault:
    """Minutes of the day. expected: (rule, subject, severity at its worst, minutes until it fires at most)."""

    name: str
    begins: int
    ends: int
    expected: tuple[tuple[str, str, str, int], ...]

    def holds(self, minute: int) -> bool:
        return self.begins <= minute < self.ends


SLOW = Fault("slow provider", 120, 150, (("latency", "chat", "critical", 8),))
STORM = Fault("429 storm", 300, 320, (("provider", "east", "warning", 6), ("errors", "chat", "warning", 6)))
REGION = Fault("region down", 540, 560, (("provider", "east", "critical", 5), ("errors", "chat", "critical", 5)))
RUNAWAY = Fault("runaway key", 720, 810, (("key-spend", "k-lab", "critical", 30), ("daily-spend", "day", "critical", 90)))
QUEUE = Fault("queue of 12,000", 960, 975, (("queue", "", "critical", 3), ("celery-queue", "celery", "critical", 3)))
SILENCE = Fault("no traffic", 1_200, 1_260, (("no-traffic", "", "warning", 45),))
FAULTS = (SLOW, STORM, REGION, RUNAWAY, QUEUE, SILENCE)


def trace() -> list[tuple[float, int, int]]:
    """(seconds into the hour, input tokens, output tokens)."""
    with TRACE.open() as file:
        rows = [(datetime.fromisoformat(row["TIMESTAMP"][:26]), row) for row in csv.DictReader(file)]
    first = rows[0][0]
    found = [((at - first).total_seconds(), int(row["ContextTokens"]), int(row["GeneratedTokens"])) for at, row in rows[::STEP]]
    assert found[-1][0] < 3_600 and all(one[0] <= two[0] for one, two in pairwise(found))
    return found


class World:
    """What apps ask in each minute of the week, the same of both organisations, but for the faults."""

    def __init__(self, rows: list[tuple[float, int, int]]) -> None:
        self.minutes: list[list[tuple[float, int, int]]] = [[] for _ in range(60)]
        for row in rows:
            self.minutes[int(row[0] // 60)].append(row)

    def minute(self, organisation: Organisation, day: int, minute: int, *, faulty: bool) -> Iterator[UsageRecord]:
        """day: 0 is the day that is judged, earlier ones are negative."""
        if faulty and SILENCE.holds(minute):
            return
        dice = random.Random(f"{day} {minute}")
        begins = DAY + timedelta(days=day, minutes=minute)
        for seconds, read, wrote in self.minutes[minute % 60]:
            route = "chat" if dice.random() < 0.7 else "search"
            key = "k-lab" if dice.random() < 0.1 else "k-app"
            slower = 7 if faulty and SLOW.holds(minute) and route == "chat" else 1
            times = 60 if faulty and RUNAWAY.holds(minute) and key == "k-lab" else 1
            refused = failed = False
            if faulty and STORM.holds(minute) and route == "chat":
                refused, failed = dice.random() < 0.4, dice.random() < 0.03
            if faulty and REGION.holds(minute) and route == "chat":
                refused, failed = True, dice.random() < 0.2
            at = begins + timedelta(seconds=seconds % 60)
            yield record(
                organisation, at, dice, route=route, key=key, read=read * times, wrote=wrote, slower=slower, refused=refused, failed=failed
            )


def record(
    organisation: Organisation, at: datetime, dice: random.Random, *, route: str, key: str, read: int, wrote: int, slower: float,
    refused: bool, failed: bool,
) -> UsageRecord:  # fmt: skip
    """refused: by east, which is asked first. failed: by west too."""
    first_token = int((200_000 + 100 * min(read, 20_000)) * slower * dice.lognormvariate(0, 0.25))
    total = first_token + int(wrote * 12_000 * slower * dice.lognormvariate(0, 0.1))
    cost = (read + 3 * wrote) * NANO_PER_TOKEN
    outcome: Outcome = "error" if failed else "ok"
    attempts = [Attempt(provider="east", endpoint="main", model="m", outcome="error", status=429)] if refused or failed else []
    tokens = Tokens() if failed else Tokens(input=read, output=wrote)
    provider = "west" if attempts else "east"
    attempts.append(Attempt(provider=provider, endpoint="main", model="m", outcome=outcome, tokens=tokens, cost_nano=0 if failed else cost))
    return UsageRecord(
        id=uuid7_bytes(int(at.timestamp() * 1000)),
        started_us=int(at.timestamp() * 1_000_000),
        organisation=str(organisation.pk),
        key_id=key,
        kind="chat",
        route=route,
        requested_model=route,
        stream=True,
        outcome=outcome,
        status=502 if failed else 200,
        attempts=attempts,
        tokens=tokens,
        cost_nano=0 if failed else cost,
        first_token_us=-1 if failed else first_token,
        total_us=total,
        simulated=organisation.simulated,
    )


def clock_is(at: datetime) -> None:
    """What Postgres' clock says in this session, where it is asked by name."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('replay.now', %s, false)", [at.isoformat()])


@pytest.fixture
def accelerated(db: None) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA replay")
        cursor.execute(
            "CREATE FUNCTION replay.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
            "$$ SELECT current_setting('replay.now')::timestamptz $$"
        )
        cursor.execute("SET search_path = replay, pg_catalog, public")
    clock_is(DAY)
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET search_path TO DEFAULT")


def daily_budget(actor: Actor, organisation: Organisation, usual_nano: int) -> Budget:
    """A soft one, a little above what a day usually costs."""
    budget = budget_set(
        actor=actor, organisation=organisation, name="day", scope="organisation", scope_id=organisation.pk, window="day",
        limit_nano=int(usual_nano * 1.1), kind="soft",
    )  # fmt: skip
    ends, wide = DAY + timedelta(days=1), 1 << 60
    BudgetWindow.objects.create(budget=budget, starts_at=DAY, ends_at=ends, limit_nano=budget.limit_nano, ceiling_nano=wide)
    return budget


def gauges_of(minute: int, organisations: dict[bool, Organisation]) -> dict[str, list[Sample]]:
    waiting = 12_000.0 if QUEUE.holds(minute) else 3.0
    depth = [Sample("", "", waiting + 3.0)]
    depth += [Sample(str(one.pk), "", waiting if faulty else 3.0) for faulty, one in organisations.items()]
    return {"queue_depth": depth, "celery_queue_depth": [Sample("", "", waiting), Sample("", "celery", waiting)]}


@pytest.mark.usefixtures("accelerated")
def test_each_default_rule_fires_for_its_fault_and_for_nothing_else(
    organisation: Organisation, actor: Actor, capsys: pytest.CaptureFixture[str]
) -> None:
    if not TRACE.is_file():
        pytest.skip(f"LOUD SKIP: it takes the Azure trace at {TRACE}")
    clean = organisation_ensure(actor=actor, slug="clean", name="Clean")
    organisations = {True: organisation, False: clean}
    for one in organisations.values():
        for name in ("east", "west"):
            Provider.objects.create(organisation=one, name=name, kind="openai")
    world, usual_nano = World(trace()), 0
    for day in range(-HISTORY_DAYS, 0):
        for hour in range(24):
            batch = [r for one in organisations.values() for n in range(60) for r in world.minute(one, day, hour * 60 + n, faulty=False)]
            usual_nano += sum(r.cost_nano for r in batch)
            settle(batch)
    usual_nano //= 2 * HISTORY_DAYS
    budgets = {faulty: daily_budget(actor, one, usual_nano) for faulty, one in organisations.items()}
    for minute in range(24 * 60):
        batch, end = [], DAY + timedelta(minutes=minute + 1)
        for faulty, one in organisations.items():
            own = list(world.minute(one, 0, minute, faulty=faulty))
            window = BudgetWindow.objects.get(budget=budgets[faulty])
            window.spent_nano += sum(r.cost_nano for r in own)
            window.save()
            batch += own
        settle(batch)
        gauges_record(at=end - timedelta(seconds=30), samples=gauges_of(minute, organisations))
        clock_is(end + SETTLES)
        if minute % 5 == 4:
            runaways_keep(now=end)
        done = evaluate(end + SETTLES, organisations=[organisation, clean])
        assert done.failed == 0

    fired = first_fired(organisation)
    rows, wrong = [], []
    for fault in FAULTS:
        for rule, subject, severity, within in fault.expected:
            found = [one for one in fired if one[:2] == (rule, subject) and fault.begins <= one[2] <= fault.ends + 60]
            delay = found[0][2] - fault.begins if found else None
            worst = "critical" if any(one[3] == "critical" for one in found) else found[0][3] if found else "-"
            rows.append((fault.name, rule, subject, worst, "never" if delay is None else f"{delay} min", f"{within} min"))
            if delay is None or delay > within or worst != severity:
                wrong.append(rows[-1])
            fired = [one for one in fired if one not in found]
    with capsys.disabled():
        print("\n| fault | rule | subject | severity | detected after | at most |\n|---|---|---|---|---|---|")
        for row in rows:
            print("| " + " | ".join(row) + " |")
        print("besides:", fired, "clean:", first_fired(clean))
    assert not wrong
    assert not fired, "it fired for something else"
    assert not first_fired(clean), "it fired although nothing was wrong"


def first_fired(organisation: Organisation) -> list[tuple[str, str, int, str]]:
    """(rule, subject, minute of the day, severity) of everything that fired or worsened, in order."""
    events = AlertEvent.objects.filter(alert__organisation=organisation, kind__in=["fired", "worsened"]).select_related("alert__rule")
    return [
        (event.alert.rule.name, event.alert.subject, int((event.at - DAY).total_seconds() // 60), event.severity)
        for event in events.order_by("at", "id")
    ]
