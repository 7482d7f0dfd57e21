"""What people complain of about the gateways that they have, each as a small test that it cannot happen here.

Numbers and words are those of the complaints. Each stands for more: the model tests of leases, slots and limits try every order, the kill
tests every moment, and ``tests/accept`` whole instances.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import OperationalError, connection
from django.db.models import Sum

from apps.contracts.journal import FIRST_OFFSET, TornFrame, read_frames
from apps.contracts.usage import UsageRecord, decode_record
from apps.proxy.errors import ClientGone
from apps.proxy.leases import Shortage
from apps.proxy.limits_fake import FakeBook, FakePool
from apps.proxy.slots import Slots
from apps.settlement import services as settlement
from apps.simulator.harness import SimulatorServer
from apps.usage.models import UsageRequest
from tests.launcher.conftest import wait_for
from tests.proxy import test_prices as pricing
from tests.proxy.lab import KEY, at, keys, prices, providers, route
from tests.proxy.limiting import Proxy, Request, fragment
from tests.proxy.standalone import StandaloneProxy
from tests.proxy.test_leases import World, play
from tests.proxy.test_limits import Clock
from tests.proxy.test_slots import Request as Slotted
from tests.settlement.conftest import empty_usage  # noqa: F401
from tests.settlement.test_services import create, settle, write

SLOW = {"first_byte_ms": {"kind": "fixed", "value": 60_000}}


# --- 1, 2: concurrent overspend, and its opposite --------------------------------------------------------------------


@pytest.mark.parametrize("proxies", [1, 4])
def test_1_eight_first_requests_at_once_do_not_overspend(proxies: int) -> None:
    """No record exists yet that would say what was spent: each passes a check of what is settled, and all together cost 80 of 25."""

    async def scene(world: World) -> None:
        fleet = [world.proxy(f"proxy-{number}") for number in range(proxies)]
        answers = await asyncio.gather(*(fleet[number % proxies].reserve_wait(("key",), 10) for number in range(8)))
        passed = [answer for answer in answers if not isinstance(answer, Shortage)]
        assert len(passed) == 2, "what fits into 25, and nothing beyond"
        assert {answer.kind for answer in answers if isinstance(answer, Shortage)} == {"exceeded"}

    play(scene, key=25)


def test_2_big_bounds_do_not_block_what_still_fits() -> None:
    """A cap of 2,000 that refuses at 0.144: each request may cost 100, costs 1, and twenty come at once, over and over."""
    spent = 0

    async def scene(world: World) -> None:
        nonlocal spent
        proxy = world.proxy()
        over = False

        async def caller() -> None:
            nonlocal spent, over
            while not over:
                answer = await proxy.reserve_wait(("key",), 100)
                if isinstance(answer, Shortage):
                    over = True
                    return
                await asyncio.sleep(0.005)
                proxy.settle(answer, 1)
                spent += 1

        await asyncio.gather(*(caller() for _ in range(20)))

    play(scene, key=2_000)
    assert 2_000 - 100 < spent <= 2_000, "refused only when even one more could exceed the cap"


# --- 3: models without a price ---------------------------------------------------------------------------------------


def test_3_unpriced_models_do_not_skip_the_budget() -> None:
    with pytest.raises(pricing.Refused) as refused:
        pricing.reserved(pricing.target())
    assert refused.value.refusal.code == "unpriced_model"


def test_3_free_local_models_pass_a_budget_that_is_used_up() -> None:
    free = pricing.reserved(pricing.target(pricing.page("m", pricing.version("free", input=0, output=0))))

    async def scene(world: World) -> None:
        proxy = world.proxy()
        assert not isinstance(await proxy.reserve_wait(("key",), 10), Shortage)
        assert isinstance(await proxy.reserve_wait(("key",), 1), Shortage)
        assert not isinstance(await proxy.reserve_wait(("key",), free), Shortage)

    play(scene, key=10)


# --- 4, 6: what streams and disconnects cost -------------------------------------------------------------------------


class Live:
    """One proxy process and one simulated provider; what the proxy's journal says of each request."""

    def __init__(self, proxy: StandaloneProxy, provider: SimulatorServer) -> None:
        self.proxy, self.provider = proxy, provider
        self.read: set[bytes] = set()

    def records(self) -> list[UsageRecord]:
        found = []
        for segment in sorted(self.proxy.journal_dir.glob("*/*.seg")):
            try:
                for payload, _ in read_frames(memoryview(segment.read_bytes()), FIRST_OFFSET):
                    record = decode_record(payload)
                    if isinstance(record, UsageRecord) and bytes(record.id) not in self.read:
                        found.append(record)
            except TornFrame:
                continue
        return found

    def record(self) -> UsageRecord:
        """The one of the request that was sent last; waits for it."""
        (found,) = wait_for(self.records, what="the record")
        self.read.add(bytes(found.id))
        return found

    def billed(self) -> int:
        """Nano-dollars of the requests since the last look."""
        wait_for(lambda: self.provider.bill()["running"] == 0, what="the provider is idle")
        cost = int(self.provider.bill()["cost_nano"])
        httpx.post(f"{self.provider.url}/sim/reset").raise_for_status()
        return cost

    def send(self, **body: Any) -> socket.socket:
        data = json.dumps({"model": "m", "messages": [{"role": "user", "content": "tell me a story"}], **body}).encode()
        sock = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=60)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
        sock.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        return sock


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    one = route("m", [at("east", "m")])
    with SimulatorServer("sim-east") as provider:
        config = [*providers(provider.base_url, provider.base_url), *keys(), *prices([one]), one]
        with StandaloneProxy(config, tmp_path_factory.mktemp("complaints")) as proxy:
            yield Live(proxy, provider)


@pytest.mark.parametrize("fault", ["ok", "missing_usage"])
def test_4_streams_are_not_recorded_as_free(live: Live, fault: str) -> None:
    """The app asks for no usage. The proxy does in its stead; where the provider has none either, it counts an upper bound, and says so."""
    live.provider.control(models={"m": {"faults": [fault], "output_tokens": {"kind": "fixed", "value": 30}}})
    body = {"model": "m", "stream": True, "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
    text = httpx.post(f"{live.proxy.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"}, timeout=60).text
    assert text.endswith("data: [DONE]\n\n") and '"usage":{' not in text.replace(" ", "")
    record, billed = live.record(), live.billed()
    assert billed > 0 and record.cost_nano >= billed
    assert record.estimated == (fault != "ok") and (fault != "ok" or record.cost_nano == billed)


@pytest.mark.parametrize("when", ["before the first byte", "in mid-stream"])
def test_6_who_leaves_is_billed_what_was_served_and_no_more_than_was_reserved(live: Live, when: str) -> None:
    """Never for nothing, and never for the whole route's cap where the app asked for less: an upper bound, marked as one."""
    early = when == "before the first byte"
    live.provider.control(models={"m": SLOW if early else {"tokens_per_second": 20, "output_tokens": {"kind": "fixed", "value": 500}}})
    sock = live.send(stream=True, max_tokens=600)
    if early:
        wait_for(lambda: live.provider.bill()["running"] == 1, what="the provider has the request")
    else:
        got = b""
        while got.count(b"data: ") < 5:
            got += sock.recv(4096)
    sock.close()
    record, billed = live.record(), live.billed()
    assert (record.outcome, record.estimated) == ("cancelled", True)
    most = (200 * 150_000_000 + 600 * 600_000_000) // 1_000_000  # at most 200 bytes of input, and what the app allowed
    assert billed <= record.cost_nano <= most and record.cost_nano > 0


def test_6_a_request_that_a_provider_refused_costs_nothing(live: Live) -> None:
    live.provider.control(models={"m": {"faults": ["400"]}})
    headers = {"authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{live.proxy.url}/v1/chat/completions", json={"model": "m", "messages": []}, headers=headers, timeout=60)
    assert answer.status_code == 400
    record = live.record()
    assert (record.outcome, record.cost_nano) == ("refused", 0) and live.billed() == 0


# --- 5: spend lost between memory and the database -------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("empty_usage")
def test_5_what_could_not_be_flushed_is_flushed_later_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away at the very end of the transaction, twice: nothing of it stays, and nothing of the journal goes."""
    journal, traffic = create(tmp_path)
    pairs = [traffic.pair() for _ in range(40)]
    for pair in pairs:
        write(journal, *pair)
    real, failures = settlement.budgets.charges_settle, iter(range(2))

    def away(**given: Any) -> None:
        if next(failures, None) is not None:
            raise OperationalError("server closed the connection unexpectedly")
        real(**given)

    monkeypatch.setattr(settlement.budgets, "charges_settle", away)
    for _ in range(2):
        with pytest.raises(OperationalError):
            settle(tmp_path)
        assert not UsageRequest.objects.exists()
    settle(tmp_path)
    settle(tmp_path)
    journal.close()
    assert UsageRequest.objects.count() == 40
    assert UsageRequest.objects.aggregate(cost=Sum("cost_nano"))["cost"] == sum(record.cost_nano for _, record in pairs)


# --- 8: slots and quotas that leak -----------------------------------------------------------------------------------


def test_8_no_exit_keeps_a_slot() -> None:
    """Done, left while running, left while waiting, crashed, too late: afterwards as many fit as before."""
    slots = Slots(2, 9)
    done, leaves, waits, late, crashes = (Slotted(slots, deadline=5.0 if number == 3 else 100.0) for number in range(5))

    def crash() -> None:
        raise ZeroDivisionError

    crashes.on_start = crash
    for request in (done, leaves, waits, late, crashes):
        request.start()
    waits.driver.throw(ClientGone())
    slots.sweep(10.0)
    leaves.driver.throw(ClientGone())
    done.work.resolve()
    assert (late.state, crashes.state) == ("QueueTimeout", "ended")
    assert (slots.running, slots.waiting) == (0, 0)


def test_8_refused_requests_consume_no_quota() -> None:
    clock = Clock()
    proxy = Proxy(fragment(amount=3), fragment("concurrent_requests", 1, id="l-2", name="at once"), pool=None, now=clock)
    first = Request()
    assert proxy.admit(first) is None
    for _ in range(50):
        assert proxy.admit(Request()) is not None
    first.answered(5)
    proxy.end(first)
    second = Request()
    assert proxy.admit(second) is None, "fifty that were refused have used up nothing"
    assert [window.used for window in proxy.windows] == [2, 1]


# --- 15: limits that multiply, windows that are off ------------------------------------------------------------------


def test_15_a_limit_is_no_larger_with_four_proxies() -> None:
    """Forty requests a minute are forty, with one process or with four, each asked for all of them."""

    async def play_out() -> int:
        clock = Clock()
        book = FakeBook(lambda: int(clock.at * 1000))
        fleet = [Proxy(fragment(amount=40), pool=FakePool(book, f"boot-{number}"), now=clock) for number in range(4)]
        admitted = 0
        for _ in range(40):
            for proxy in fleet:
                admitted += proxy.admit(Request()) is None
                await proxy.keeper._sync(proxy.keeper.due())
            clock.at += 0.5
        return admitted

    assert 30 <= asyncio.run(play_out()) <= 40


def test_15_a_budget_is_no_larger_with_four_proxies() -> None:
    async def scene(world: World) -> None:
        fleet = [world.proxy(f"proxy-{number}") for number in range(4)]
        answers = await asyncio.gather(*(proxy.reserve_wait(("key",), 9) for proxy in fleet for _ in range(10)))
        assert sum(not isinstance(answer, Shortage) for answer in answers) == 11

    play(scene, key=100)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("zone", "at", "day"),
    [
        ("Europe/Berlin", "2026-11-21T23:30:00", 22),
        ("America/New_York", "2026-11-22T04:30:00", 21),
        ("Asia/Kathmandu", "2026-11-21T18:20:00", 22),
        ("UTC", "2026-11-21T23:59:59", 21),
    ],
)
def test_15_a_day_begins_at_the_budgets_own_midnight(zone: str, at: str, day: int) -> None:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT starts_at AT TIME ZONE %s FROM budgets_window_at('day', %s, %s)", [zone, zone, moment])
        assert cursor.fetchone()[0] == datetime(2026, 11, day)
