"""Bulkheads, one story at a time; ``test_slots_model.py`` tries everything in every order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from apps.proxy.driver import Driver, Waiter
from apps.proxy.errors import ClientGone
from apps.proxy.slots import Bulkheads, QueueTimeout, Shed, Slots


class Request:
    """One driven request: takes or waits, works until told otherwise, gives back on every exit."""

    def __init__(self, slots: Slots, *, priority: int = 1, deadline: float = 100.0, now: float = 0.0) -> None:
        self.state = "new"
        self.work = Waiter()
        self.error: BaseException | None = None
        self.on_start: Callable[[], None] = lambda: None
        self.driver = Driver(self._run(slots, priority, deadline, now), self._crashed)

    def start(self) -> Request:
        self.driver.start()
        return self

    async def _run(self, slots: Slots, priority: int, deadline: float, now: float) -> None:
        if not slots.take():
            waiter = slots.wait(priority, deadline, now)
            if waiter is None:
                self.state = "refused"
                return
            self.state = "waiting"
            try:
                await waiter
            except (Shed, QueueTimeout, ClientGone) as error:
                self.state, self.error = type(error).__name__, error
                return
        self.state = "running"
        try:
            self.on_start()
            await self.work
        finally:
            self.state = "ended"
            slots.give()

    def _crashed(self, error: BaseException) -> None:
        self.error = error


def states(*requests: Request) -> list[str]:
    return [request.state for request in requests]


def test_no_cap_never_waits() -> None:
    slots = Slots(0, 0)
    assert all(slots.take() for _ in range(10_000))
    assert slots.running == 10_000 and slots.waiting == 0


def test_a_slot_goes_from_one_to_the_next() -> None:
    slots = Slots(1, 2)
    first, second, third, fourth = (Request(slots).start() for _ in range(4))
    assert states(first, second, third, fourth) == ["running", "waiting", "waiting", "refused"]
    assert slots.shed == 1
    first.work.resolve()
    assert states(first, second, third) == ["ended", "running", "waiting"]
    second.work.resolve()
    third.work.resolve()
    assert (slots.running, slots.waiting) == (0, 0)


def test_better_priority_first_and_equals_in_order_of_arrival() -> None:
    slots = Slots(1, 10)
    running = Request(slots).start()
    waiting = [Request(slots, priority=priority).start() for priority in (2, 1, 0, 1, 0)]
    order = []
    while running.state == "running":
        running.work.resolve()
        running = next((request for request in waiting if request.state == "running"), running)
        if running.state == "running":
            order.append(waiting.index(running))
    assert order == [2, 4, 1, 3, 0]


def test_a_full_queue_sheds_the_worst_that_came_last() -> None:
    slots = Slots(1, 3)
    Request(slots).start()
    low, lower, also_lower = (Request(slots, priority=priority).start() for priority in (1, 2, 2))
    assert Request(slots, priority=2).start().state == "refused"
    better = Request(slots, priority=0).start()
    assert states(low, lower, also_lower, better) == ["waiting", "waiting", "Shed", "waiting"]
    assert isinstance(also_lower.error, Shed) and also_lower.error.retry_after_seconds == 1


def test_nobody_overtakes_the_queue() -> None:
    """A resumed request that gives its slot back at once finds that it is the next one's."""
    slots = Slots(1, 5)
    first = Request(slots).start()
    taken: list[bool] = []
    second = Request(slots)
    second.on_start = lambda: taken.append(slots.take())
    second.start()
    third = Request(slots).start()
    second.work.resolve()
    first.work.resolve()
    assert taken == [False] and states(first, second, third) == ["ended", "ended", "running"]


def test_a_long_queue_of_short_requests_does_not_nest() -> None:
    slots = Slots(1, 5_000)
    first = Request(slots).start()
    rest = [Request(slots) for _ in range(5_000)]
    for request in rest:
        request.work.resolve()
        request.start()
    first.work.resolve()
    assert {request.state for request in rest} == {"ended"} and slots.running == 0
    assert {request.error for request in rest} == {None}


@pytest.mark.parametrize("leave", ["waiting", "running"])
def test_who_leaves_holds_nothing(leave: str) -> None:
    slots = Slots(1, 5)
    first, second = Request(slots).start(), Request(slots).start()
    (second if leave == "waiting" else first).driver.throw(ClientGone())
    assert slots.waiting == 0 and slots.running == 1
    (first if leave == "waiting" else second).work.resolve()
    assert slots.running == 0


def test_deadlines_end_waits_and_only_then() -> None:
    slots = Slots(1, 5)
    Request(slots).start()
    early, late = Request(slots, deadline=10).start(), Request(slots, deadline=20).start()
    slots.sweep(9.9)
    assert states(early, late) == ["waiting", "waiting"]
    slots.sweep(10)
    assert states(early, late) == ["QueueTimeout", "waiting"] and slots.expired == 1
    slots.sweep(25)
    assert late.state == "QueueTimeout" and slots.waiting == 0
    assert Request(slots, deadline=24, now=25).start().state == "refused"


def test_who_hears_of_a_deadline_may_end_others() -> None:
    slots = Slots(1, 5)
    Request(slots).start()
    second = Request(slots, deadline=10)

    async def hears_first() -> None:
        waiter = slots.wait(0, 10, 0)
        assert waiter is not None
        try:
            await waiter
        except QueueTimeout:
            second.driver.throw(ClientGone())

    Driver(hears_first(), pytest.fail).start()
    second.start()
    slots.sweep(10)
    assert second.state == "ClientGone" and slots.waiting == 0 and slots.expired == 1


def test_a_crash_of_the_handler_gives_the_slot_back() -> None:
    slots = Slots(1, 5)
    first, second = Request(slots), Request(slots)

    def crash() -> None:
        raise ZeroDivisionError

    first.on_start = crash
    first.start()
    second.start()
    assert isinstance(first.error, ZeroDivisionError) and second.state == "running" and slots.running == 1


def test_a_waiter_that_is_never_awaited_can_be_left() -> None:
    slots = Slots(1, 5)
    assert slots.take()
    waiter = slots.wait(1, 10, 0)
    handed = slots.wait(1, 10, 0)
    assert waiter is not None and handed is not None
    waiter.leave()
    waiter.leave()
    slots.give()
    assert slots.running == 1, "handed over to who has not looked yet"
    handed.leave()
    handed.leave()
    assert (slots.running, slots.waiting) == (0, 0)


def test_waiting_although_a_slot_is_free_gets_it() -> None:
    slots = Slots(1, 0)
    waiter = slots.wait(1, 10, 0)
    assert waiter is not None and waiter.done and slots.running == 1
    waiter.leave()
    assert slots.running == 0


def test_a_coroutine_that_is_closed_leaves_the_queue() -> None:
    """Whatever destroys a waiting coroutine: garbage collection, the end of the process."""
    slots = Slots(1, 5)
    assert slots.take()

    async def wait() -> None:
        waiter = slots.wait(1, 10, 0)
        assert waiter is not None
        await waiter

    coroutine = wait()
    coroutine.send(None)
    assert slots.waiting == 1
    coroutine.close()
    assert slots.waiting == 0


async def test_awaited_in_a_task_by_mistake_nothing_leaks() -> None:
    slots = Slots(1, 5)
    assert slots.take()

    async def wait() -> None:
        waiter = slots.wait(1, 10, 0)
        assert waiter is not None
        await waiter

    with pytest.raises(RuntimeError):
        await asyncio.create_task(wait())
    assert slots.waiting == 0


def test_giving_twice_is_logged_and_widens_nothing(caplog: pytest.LogCaptureFixture) -> None:
    slots = Slots(1, 0)
    with caplog.at_level(logging.ERROR):
        slots.give()
    assert "gives twice" in caplog.text and slots.running == 0
    assert slots.take() and not slots.take()


def test_retry_after_follows_the_rate_of_service() -> None:
    slots = Slots(1, 100)
    requests = [Request(slots, deadline=1e9).start() for _ in range(60)]
    slots.sweep(1.0)
    for second in range(2, 22):
        requests.pop(0).work.resolve()
        slots.sweep(float(second))
    assert slots.waiting == 39
    assert slots.retry_after() == 40, "one a second, and forty are before a newcomer is served"


def test_resizing_hands_out_more_room_and_sheds_what_does_not_fit() -> None:
    bulkheads = Bulkheads()
    slots = bulkheads.of("t", 1, 4)
    requests = [Request(slots, priority=priority).start() for priority in (1, 1, 2, 1, 2)]
    assert bulkheads.of("t", 2, 4) is slots
    assert states(*requests) == ["running", "running", "waiting", "waiting", "waiting"]
    bulkheads.of("t", 1, 1)
    assert states(*requests) == ["running", "running", "Shed", "waiting", "Shed"]
    requests[0].work.resolve()
    assert slots.running == 1 and requests[3].state == "waiting", "lowered: the running ones fall to the limit first"
    requests[1].work.resolve()
    assert requests[3].state == "running"
    bulkheads.of("t", 0, 0)
    assert slots.take()
    bulkheads.keep(())
    assert bulkheads.of("t", 3, 3) is slots, "requests hold slots of it"
    assert bulkheads.view() == [{"name": "t", "limit": 3, "running": 2, "waiting": 0, "shed": 2, "expired": 0}]
    requests[3].work.resolve()
    slots.give()
    bulkheads.keep(())
    assert bulkheads.view() == []


def test_the_registry_sweeps_all() -> None:
    bulkheads = Bulkheads()
    waiting = []
    for name in "ab":
        slots = bulkheads.of(name, 1, 1)
        Request(slots).start()
        waiting.append(Request(slots, deadline=5).start())
    bulkheads.sweep(5)
    assert states(*waiting) == ["QueueTimeout", "QueueTimeout"]
