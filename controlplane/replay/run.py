"""The replay itself: an open loop. A request leaves when the trace says so, whether or not earlier ones were answered."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import Any, Literal

import msgspec

from controlplane.replay.client import Call, Client
from controlplane.replay.progress import Progress
from controlplane.replay.prompts import Bodies
from controlplane.replay.summary import Tally, summary
from controlplane.replay.traces import Trace

Mode = Literal["json", "stream", "mixed"]
RECORD_SECONDS = 30.0
"""How long a stream's cost may take to reach the proxy's records after the last answer."""
_RECORDS_AT_ONCE = 32


class Plan(msgspec.Struct, kw_only=True):
    """How to replay. speed: 2 is twice as fast as recorded. concurrency: most requests in flight; further ones wait, and
    the wait shows as lag. timeout: seconds for a whole answer. exact: see ``prompts.Bodies``."""

    url: str
    key: str
    model: str
    speed: float
    mode: Mode = "json"
    concurrency: int = 1000
    timeout: float = 130.0
    exact: bool = True
    tag: str = ""


class Replay:
    """One run of a plan over a trace."""

    def __init__(self, trace: Trace, plan: Plan, progress: Progress | None = None) -> None:
        self._trace = trace
        self._plan = plan
        self._progress = progress
        self._tally = Tally()
        self._uncosted: list[Call] = []
        self._stop: asyncio.Event
        self._all_done: asyncio.Event
        self._lag = 0.0
        self._total: int | None = None

    async def run(self, *, stop_on_signal: bool = False) -> dict[str, Any]:
        """Replay the trace and return the summary. stop_on_signal: SIGINT ends it early, with the summary so far."""
        plan = self._plan
        self._stop = asyncio.Event()
        self._all_done = asyncio.Event()
        headers = {"authorization": f"Bearer {plan.key}", "user-agent": "bulkhead-replay", "x-bulkhead-feature": "replay"}
        if plan.tag:
            headers["x-bulkhead-tags"] = plan.tag
        client = Client(plan.url, headers, connections=plan.concurrency, timeout=plan.timeout, on_end=self._ended)
        loop = asyncio.get_running_loop()
        if stop_on_signal:
            loop.add_signal_handler(signal.SIGINT, self._interrupt)
        began = time.perf_counter()
        ticker = loop.create_task(self._tick(client, began))
        try:
            await self._send_all(client, began)
            await self._all_done.wait()
            elapsed = time.perf_counter() - began
            await self._fetch_costs()
        finally:
            ticker.cancel()
            if stop_on_signal:
                loop.remove_signal_handler(signal.SIGINT)
            await client.close()
            if self._progress is not None:
                self._progress.close()
        return summary(self._tally, elapsed=elapsed, broken=len(self._trace.bad), interrupted=self._stop.is_set())

    async def _send_all(self, client: Client, began: float) -> None:
        plan, tally = self._plan, self._tally
        bodies = Bodies(plan.model, exact=plan.exact)
        rows = self._trace.rows
        first = rows[0].at if rows else 0.0
        for index, row in enumerate(rows):
            due = began + (row.at - first) / plan.speed
            wait = due - time.perf_counter()
            if wait > 0.0005:
                await self._pause(wait)
            elif index % 16 == 0:
                await asyncio.sleep(0)  # behind the trace: answers must still be read
            if self._stop.is_set():
                break
            stream = plan.mode == "stream" or (plan.mode == "mixed" and index % 2 == 1)
            payload = client.request("POST", "/v1/chat/completions", bodies.body(row, stream=stream))
            self._lag = max(0.0, time.perf_counter() - due)
            tally.sent += 1
            client.submit(Call(payload, stream=stream, scheduled=due))
        else:
            self._all_sent()

    def _all_sent(self) -> None:
        self._total = self._tally.sent
        if self._tally.done == self._total:
            self._all_done.set()

    def _interrupt(self) -> None:
        self._stop.set()
        self._all_done.set()

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than until the interrupt."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    def _ended(self, call: Call) -> None:
        tally = self._tally
        tally.count(call)
        if call.cost_nano is not None:
            tally.cost_nano += call.cost_nano
        elif call.stream and call.status == 200 and call.request_id:
            self._uncosted.append(call)
        elif not call.failure:
            tally.unpriced += 1
        if tally.done == self._total:
            self._all_done.set()

    async def _tick(self, client: Client, began: float) -> None:
        while self._progress is not None:
            self._progress.show(self._tally, elapsed=time.perf_counter() - began, in_flight=client.in_flight, lag=self._lag)
            await asyncio.sleep(0.1)

    # what streams cost: it is known only after their last byte, so the proxy's record tells

    async def _fetch_costs(self) -> None:
        if not self._uncosted:
            return
        waiting = self._uncosted
        answers: asyncio.Queue[tuple[Call, int | None]] = asyncio.Queue()
        asked: dict[Call, Call] = {}

        def ended(question: Call) -> None:
            answers.put_nowait((asked.pop(question), question.cost_nano))

        headers = {"authorization": f"Bearer {self._plan.key}", "user-agent": "bulkhead-replay"}
        client = RecordClient(self._plan.url, headers, connections=_RECORDS_AT_ONCE, timeout=10, on_end=ended)
        began = time.perf_counter()
        try:
            while waiting and time.perf_counter() - began < (1.0 if self._stop.is_set() else RECORD_SECONDS):
                for call in waiting:
                    question = Call(client.request("GET", f"/v1/requests/{call.request_id}"), stream=False, scheduled=time.perf_counter())
                    asked[question] = call
                    client.submit(question)
                still: list[Call] = []
                for _ in range(len(waiting)):
                    call, cost = await answers.get()
                    if cost is None:
                        still.append(call)
                    else:
                        self._tally.cost_nano += cost
                if still:
                    await self._pause(0.3)
                waiting = still
        finally:
            await client.close()
        self._tally.unpriced += sum(1 for call in waiting if not call.failure)


class RecordClient(Client):
    """Asks for request records; the call's ``cost_nano`` is the record's, None while there is none."""

    def read_answer(self, call: Call, body: bytes) -> None:
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            document = None
        cost = document.get("cost_nano") if call.status == 200 and isinstance(document, dict) else None
        call.cost_nano = cost if isinstance(cost, int) else None
