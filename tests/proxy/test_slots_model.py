"""Bulkheads against a plain sorted list, with requests that begin, end, fail, leave, time out and crash in any order.

The requests are real coroutines on the proxy's own driver, so every exit is the one that production takes.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apps.proxy.driver import Driver, Waiter
from apps.proxy.errors import ClientGone
from apps.proxy.slots import QueueTimeout, Shed, Slots, SlotWaiter
from tests.scale import examples

WAYS = ["works", "works", "ends at once", "crashes at once", "tries again at once"]
"""What a request does as soon as it has its slot."""


class Request:
    def __init__(self, machine: SlotsMachine, number: int, priority: int, deadline: float, way: str) -> None:
        self.machine = machine
        self.number = number
        self.priority = priority
        self.deadline = deadline
        self.way = way
        self.work = Waiter()
        self.state = "new"
        self.driver = Driver(self.run(), self.crashed)

    async def run(self) -> None:
        while await self.once():
            self.machine.number += 1
            self.number = self.machine.number  # it queues anew

    async def once(self) -> bool:
        machine, slots = self.machine, self.machine.slots
        if slots.take():
            assert not machine.those("waiting") or not slots.limit, "somebody was overtaken"
        else:
            machine.newcomer = self.priority
            waiter = slots.wait(self.priority, self.deadline, machine.now)
            if waiter is None:
                self.state = "refused"
                machine.refused(self)
                return False
            self.state = "waiting"
            try:
                await waiter
            except (Shed, QueueTimeout, ClientGone) as error:
                machine.turned_away(self, error)
                self.state = "ended"
                return False
            machine.granted(self)
        self.state = "running"
        try:
            if self.way == "crashes at once":
                raise ZeroDivisionError
            if self.way == "tries again at once":
                self.way = "works"
                return True
            if self.way != "ends at once":
                await self.work
        finally:
            self.state = "ended"
            slots.give()
        return False

    def crashed(self, error: BaseException) -> None:
        assert isinstance(error, (ZeroDivisionError, OSError, ClientGone)), error

    def rank(self) -> tuple[int, int]:
        return (self.priority, self.number)


class SlotsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.number = 0
        self.requests: list[Request] = []
        self.newcomer: int | None = None
        """The priority of who asked for a place last; None while the bounds are changed."""
        self.unasked: list[SlotWaiter] = []
        """Places that were taken and are not awaited."""
        self.above = 0

    @initialize(limit=st.integers(0, 3), queue_size=st.integers(0, 4))
    def begin(self, limit: int, queue_size: int) -> None:
        self.slots = Slots(limit, queue_size)

    def those(self, state: str) -> list[Request]:
        return [request for request in self.requests if request.state == state]

    # --- what requests tell while it happens -----------------------------------------------------------------------------------

    def granted(self, request: Request) -> None:
        """Better priority first, equals in order of arrival."""
        for other in self.those("waiting"):
            assert request.rank() <= other.rank(), "somebody was overtaken"

    def refused(self, request: Request) -> None:
        assert self.slots.waiting >= self.slots.queue_size or request.deadline <= self.now
        if request.deadline > self.now:
            assert all(other.priority <= request.priority for other in self.those("waiting")), "a worse one should have gone"
        assert self.slots.limit
        # In the midst of handing out what a larger limit brought, the free slots are the waiters' already.
        assert self.slots.running >= self.slots.limit or self.slots.waiting or request.deadline <= self.now

    def turned_away(self, request: Request, error: Exception) -> None:
        if isinstance(error, QueueTimeout):
            assert request.deadline <= self.now
        elif isinstance(error, Shed):
            assert self.slots.waiting >= self.slots.queue_size
            assert self.newcomer is None or self.newcomer < request.priority, "shed for one that is not better"
            for other in self.those("waiting"):
                assert other.rank() <= request.rank(), "not the worst was shed"

    # --- what happens ----------------------------------------------------------------------------------------------------------

    @rule(priority=st.integers(0, 2), patience=st.sampled_from([0.0, 1.0, 5.0, 100.0]), way=st.sampled_from(WAYS))
    def arrive(self, priority: int, patience: float, way: str) -> None:
        self.number += 1
        request = Request(self, self.number, priority, self.now + patience, way)
        self.requests.append(request)
        request.driver.start()

    @rule(times=st.integers(2, 6), priority=st.integers(0, 2), way=st.sampled_from(WAYS))
    def crowd(self, times: int, priority: int, way: str) -> None:
        for _ in range(times):
            self.arrive(priority, 3.0, way)

    @precondition(lambda self: self.those("running"))
    @rule(which=st.integers(0, 9), end=st.sampled_from(["success", "error", "left"]))
    def end(self, which: int, end: str) -> None:
        running = self.those("running")
        request = running[which % len(running)]
        if end == "success":
            request.work.resolve()
        elif end == "error":
            request.work.fail(OSError("reset"))
        else:
            request.driver.throw(ClientGone())

    @precondition(lambda self: self.those("waiting"))
    @rule(which=st.integers(0, 9), crash=st.booleans())
    def leave_the_queue(self, which: int, crash: bool) -> None:
        waiting = self.those("waiting")
        request = waiting[which % len(waiting)]
        request.driver.throw(ZeroDivisionError() if crash else ClientGone())
        request.state = "ended"

    @rule(priority=st.integers(0, 2))
    def take_a_place_and_do_not_await_it(self, priority: int) -> None:
        """As when something fails between the two."""
        self.newcomer = priority
        waiter = self.slots.wait(priority, self.now + 3.0, self.now)
        if waiter is not None:
            self.unasked.append(waiter)

    @precondition(lambda self: self.unasked)
    @rule(which=st.integers(0, 9), again=st.booleans())
    def leave_it(self, which: int, again: bool) -> None:
        waiter = self.unasked[which % len(self.unasked)]
        self.unasked.remove(waiter)
        waiter.leave()
        if again:
            waiter.leave()

    @rule(seconds=st.sampled_from([0.05, 1.0, 4.0, 200.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.slots.sweep(self.now)
        assert all(request.deadline > self.now for request in self.those("waiting"))

    @rule(limit=st.integers(0, 4), queue_size=st.integers(0, 5))
    def resize(self, limit: int, queue_size: int) -> None:
        self.newcomer = None
        self.slots.resize(limit, queue_size)
        self.above = self.slots.running

    # --- what must hold --------------------------------------------------------------------------------------------------------

    @invariant()
    def every_slot_is_somebody_s(self) -> None:
        handed = sum(waiter._held for waiter in self.unasked)
        queued = sum(not waiter.done for waiter in self.unasked)
        assert self.slots.running == len(self.those("running")) + handed
        assert self.slots.waiting == len(self.those("waiting")) + queued == sum(map(len, self.slots._queues.values()))

    @invariant()
    def never_above_the_limit(self) -> None:
        limit = self.slots.limit
        if limit:
            assert self.slots.running <= max(limit, self.above)
            self.above = min(self.above, max(limit, self.slots.running))

    @invariant()
    def the_queue_is_bounded_and_never_beside_a_free_slot(self) -> None:
        assert self.slots.waiting <= self.slots.queue_size
        if self.slots.waiting:
            assert self.slots.limit and self.slots.running >= self.slots.limit

    def teardown(self) -> None:
        for waiter in self.unasked:
            waiter.leave()
        for request in self.requests:
            if request.state in ("waiting", "running"):
                request.driver.throw(ClientGone())
        if hasattr(self, "slots"):
            assert (self.slots.running, self.slots.waiting) == (0, 0), "a slot leaked"


SlotsMachine.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)
TestSlotsModel = SlotsMachine.TestCase
