"""The wall under fire: many holders at once on real Postgres, connections cut, holders dying, limits changing.

A watcher on its own connection reads the windows all the while: at no moment is more spent and held than allowed.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Sequence
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import AsyncConnection

from apps.contracts.leases import RECALL_CHANNEL, LeaseReturn, LeaseState, LeaseWant
from apps.contracts.usage import Charge
from apps.proxy.leases import Leases, Shortage

pytestmark = pytest.mark.slow

LIMITS = {"org": 10_000, "key": 4_000}
DEADLINE_SECONDS = 120.0
GRANT = "SELECT * FROM proxy_api.lease_grant(%s, %s::jsonb)"
RETURN = "SELECT * FROM proxy_api.lease_return(%s, %s::jsonb)"
SYNC = "SELECT * FROM proxy_api.lease_sync(%s)"


@pytest.fixture
def walls(fresh_database: object) -> dict[str, UUID]:
    """Two budgets of one organisation, by plain SQL: what Django holds open would disturb the kills."""
    ids = {name: uuid4() for name in LIMITS}
    with psycopg.connect(fresh_database.url, autocommit=True) as connection:  # type: ignore[attr-defined]
        organisation = uuid4()
        connection.execute(
            "INSERT INTO accounts_organisation (id, name, slug, simulated, created_at) VALUES (%s, 'Acme', 'acme', false, now())",
            [organisation],
        )
        for name, limit in LIMITS.items():
            connection.execute(
                'INSERT INTO budgets_budget (id, organisation_id, name, scope, "window", timezone, limit_nano, created_at, changed_at) '
                "VALUES (%s, %s, %s, 'organisation', 'month', 'Europe/Berlin', %s, now(), now())",
                [ids[name], organisation, name, limit],
            )
    return ids


class Watcher(threading.Thread):
    """Polls the windows and remembers the first moment at which one was wrong."""

    QUERY = (
        "SELECT w.limit_nano, w.ceiling_nano, w.spent_nano, w.leased_nano, w.overrun_nano, coalesce(l.held, 0) "
        "FROM budgets_budgetwindow AS w "
        "LEFT JOIN (SELECT window_id, sum(granted_nano - returned_nano - settled_nano) AS held FROM budgets_lease GROUP BY 1) AS l "
        "ON l.window_id = w.id"
    )

    def __init__(self, url: str, *, limits_change: bool = False) -> None:
        super().__init__(daemon=True)
        self.url, self.limits_change = url, limits_change
        self.done = threading.Event()
        self.looks = 0
        self.wrong = ""

    def run(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            while not self.done.is_set():
                for limit, ceiling, spent, leased, overrun, held in connection.execute(self.QUERY).fetchall():
                    allowed = ceiling if self.limits_change else limit
                    if spent + leased > allowed or leased != held or overrun:
                        self.wrong = (
                            self.wrong or f"limit {limit} ceiling {ceiling} spent {spent} leased {leased} held {held} overrun {overrun}"
                        )
                self.looks += 1

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.join(DEADLINE_SECONDS)
        assert not self.wrong, self.wrong
        assert self.looks > 10


class Holder(threading.Thread):
    """A proxy and its shipper in one: grants, spends, returns, settles, dies, at random, and knows what it truly spent."""

    def __init__(self, url: str, owner_url: str, walls: dict[str, UUID], seed: int, steps: int) -> None:
        super().__init__(daemon=True)
        self.url, self.owner_url, self.walls, self.steps = url, owner_url, walls, steps
        self.random = random.Random(seed)
        self.spent = dict.fromkeys(walls, 0)
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for _ in range(self.steps):
                self.live()
        except BaseException as error:  # handed to the test's thread
            self.error = error

    def live(self) -> None:
        """One life: from the first grant to the release after its journal was settled."""
        boot = uuid4()
        journal: dict[int, int] = {}
        held: dict[int, tuple[str, int, int, int]] = {}
        names = {str(id): name for name, id in self.walls.items()}
        connection = psycopg.connect(self.url, autocommit=True)
        for _ in range(self.random.randint(3, 12)):
            try:
                wants = []
                for id in self.random.sample(list(self.walls.values()), self.random.randint(1, 2)):
                    need = self.random.randint(0, 900)
                    wants.append({"budget": str(id), "need": need, "want": need * 4})
                for budget, lease, _, generation, granted, returned, *_ in connection.execute(GRANT, [boot, json.dumps(wants)]).fetchall():
                    if lease:
                        held[lease] = (names[budget], generation, granted, returned)
                for lease, (name, generation, granted, returned) in list(held.items()):
                    free = granted - returned - journal.get(lease, 0)
                    cost = self.random.randint(0, free)
                    journal[lease] = journal.get(lease, 0) + cost
                    self.spent[name] += cost
                    if self.random.random() < 0.5:
                        total = returned + self.random.randint(0, free - cost)
                        held[lease] = (name, generation, granted, total)
                        wanted = json.dumps([{"lease": lease, "generation": generation, "returned": total}])
                        for _, _, _, generation, granted, *_ in connection.execute(RETURN, [boot, wanted]).fetchall():
                            held[lease] = (name, generation, granted, total)
                if self.random.random() < 0.1:
                    self.cut(connection)
            except psycopg.OperationalError:  # cut in the middle; whether the call happened is not known
                connection.close()
                connection = psycopg.connect(self.url, autocommit=True)
                for budget, lease, _, generation, granted, returned, *_ in connection.execute(SYNC, [boot]).fetchall():
                    mine = held.get(lease, ("", 0, 0, returned))[3]
                    held[lease] = (names[budget], generation, granted, max(returned, mine))
        connection.close()
        with psycopg.connect(self.owner_url) as shipper:
            shipper.execute(
                "SELECT * FROM budgets_settle(%s::bigint[], %s::bigint[], %s::uuid[])", [list(journal), list(journal.values()), [boot]]
            )

    def cut(self, connection: psycopg.Connection[object]) -> None:
        """Have the server kill our session a moment from now, in the middle of whatever call that hits."""
        pid = connection.info.backend_pid

        def kill() -> None:
            with psycopg.connect(self.owner_url, autocommit=True) as owner:
                owner.execute("SELECT pg_terminate_backend(%s)", [pid])

        threading.Timer(self.random.random() * 0.01, kill).start()


def test_at_no_observed_moment_is_more_spent_and_held_than_the_limit(fresh_database: object, walls: dict[str, UUID]) -> None:
    urls = (fresh_database.proxy_url, fresh_database.superuser_url)  # type: ignore[attr-defined]
    with Watcher(fresh_database.url) as watcher:  # type: ignore[attr-defined]
        holders = [Holder(*urls, walls, seed, steps=12) for seed in range(8)]
        for holder in holders:
            holder.start()
        for holder in holders:
            holder.join(DEADLINE_SECONDS)
            assert not holder.is_alive()
            if holder.error is not None:
                raise holder.error
    assert watcher.looks > 10
    with psycopg.connect(fresh_database.url) as connection:  # type: ignore[attr-defined]
        rows = connection.execute(
            "SELECT b.name, w.spent_nano, w.leased_nano, w.overrun_nano "
            "FROM budgets_budgetwindow AS w JOIN budgets_budget AS b ON b.id = w.budget_id"
        ).fetchall()
    found = {name: (spent, leased, overrun) for name, spent, leased, overrun in rows}
    truly = {name: sum(holder.spent[name] for holder in holders) for name in walls}
    assert found == {name: (truly[name], 0, 0) for name in walls}
    assert all(0 < truly[name] <= LIMITS[name] for name in walls)


def test_limits_lowered_and_raised_meanwhile(fresh_database: object, walls: dict[str, UUID]) -> None:
    urls = (fresh_database.proxy_url, fresh_database.superuser_url)  # type: ignore[attr-defined]
    with Watcher(fresh_database.url, limits_change=True), psycopg.connect(fresh_database.url, autocommit=True) as owner:  # type: ignore[attr-defined]
        holders = [Holder(*urls, walls, 100 + seed, steps=6) for seed in range(4)]
        for holder in holders:
            holder.start()
        changes = random.Random(7)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while any(holder.is_alive() for holder in holders) and time.monotonic() < deadline:
            with owner.transaction():
                owner.execute("UPDATE budgets_budget SET limit_nano = %s WHERE id = %s", [changes.randint(1, 20_000), walls["org"]])
                owner.execute("SELECT budgets_limit_changed(%s)", [walls["org"]])
        for holder in holders:
            holder.join(DEADLINE_SECONDS)
            assert not holder.is_alive()
            if holder.error is not None:
                raise holder.error


class RealStore:
    """A LeaseStore over one connection of the role that proxies have: EXECUTE on a few functions and nothing else."""

    def __init__(self, connection: AsyncConnection[tuple[object, ...]], boot: UUID) -> None:
        self.connection, self.boot = connection, boot

    async def _ask(self, query: str, *values: str) -> list[LeaseState]:
        rows = await (await self.connection.execute(query, [self.boot, *values])).fetchall()
        return [LeaseState(**dict(zip(LeaseState.__struct_fields__, row, strict=True))) for row in rows]

    async def lease_grant(self, wants: Sequence[LeaseWant]) -> list[LeaseState]:
        return await self._ask(GRANT, json.dumps([{"budget": want.budget, "need": want.need, "want": want.want} for want in wants]))

    async def lease_return(self, returns: Sequence[LeaseReturn]) -> list[LeaseState]:
        return await self._ask(RETURN, json.dumps([{field: getattr(each, field) for field in each.__struct_fields__} for each in returns]))

    async def lease_sync(self) -> list[LeaseState]:
        return await self._ask(SYNC)


def test_four_proxies_and_a_hundred_callers_spend_the_budget_to_the_last_nano_dollar(
    fresh_database: object, walls: dict[str, UUID]
) -> None:
    """Three proxies fall silent with what their slices still hold; the fourth wants 10 until nothing fits. Recalls by NOTIFY find the rest.

    A refusal while money is left is not final here: on a busy machine neither grants nor recalls need to come within the wait.
    """

    async def scene() -> int:
        proxy_url = fresh_database.proxy_url  # type: ignore[attr-defined]
        loop = asyncio.get_running_loop()
        proxies: list[Leases] = []
        tasks: list[asyncio.Task[None]] = []
        connections = []

        async def listen() -> None:
            connection = await AsyncConnection.connect(proxy_url, autocommit=True)
            await connection.execute(f"LISTEN {RECALL_CHANNEL}")
            async for note in connection.notifies():
                for leases in proxies:
                    leases.recall(int(note.payload))

        tasks.append(loop.create_task(listen()))
        for _ in range(4):
            connection = await AsyncConnection.connect(proxy_url, autocommit=True)
            connections.append(connection)
            proxies.append(Leases(RealStore(connection, uuid4()), now_ms=lambda: time.time_ns() // 1_000_000, strict=True))
        tasks.append(loop.create_task(proxies[0].run()))  # the silent ones give back what is recalled, not what lies idle
        budgets = tuple(str(id) for id in walls.values())
        spent = 0
        deadline = loop.time() + DEADLINE_SECONDS

        async def caller(leases: Leases, rounds: int | None) -> None:
            nonlocal spent
            while rounds is None or rounds > 0:
                charges: list[Charge] | Shortage | None = leases.reserve(budgets, 10)
                if charges is None:
                    charges = await leases.reserve_wait(budgets, 10)
                if isinstance(charges, Shortage):
                    if charges.kind == "exceeded" and spent == LIMITS["key"]:
                        return
                    assert loop.time() < deadline, (charges, spent)
                    continue
                await asyncio.sleep(0)
                leases.settle(charges, 10)
                spent += 10
                rounds = rounds - 1 if rounds is not None else None

        await asyncio.gather(*(caller(proxies[number % 4], 2 if number % 4 else None) for number in range(100)))
        for leases in proxies:
            await leases.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in connections:
            await connection.close()
        return spent

    with Watcher(fresh_database.url):  # type: ignore[attr-defined]
        assert asyncio.run(scene()) == LIMITS["key"]


def test_the_role_of_proxies_may_call_three_functions_and_read_nothing(fresh_database: object, walls: dict[str, UUID]) -> None:
    forbidden = [
        "SELECT * FROM budgets_budget",
        "UPDATE budgets_budgetwindow SET limit_nano = 10",
        "SELECT budgets_limit_changed(gen_random_uuid())",
        "SELECT budgets_settle('{}'::bigint[], '{}'::bigint[], '{}'::uuid[])",
        "SELECT budgets_release(gen_random_uuid(), false)",
        "SELECT budgets_holder_lock(gen_random_uuid())",
        "SELECT budgets_lease_states(gen_random_uuid(), NULL)",
    ]
    with psycopg.connect(fresh_database.proxy_url, autocommit=True) as connection:  # type: ignore[attr-defined]
        for query in forbidden:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(query)
        assert connection.execute(SYNC, [uuid4()]).fetchall() == []
