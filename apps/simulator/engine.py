"""A simulated inference engine: the simulated provider as one replica of a fleet, with vLLM's metrics, a KV cache and ways to go wrong.

It listens at once and answers 503 on ``/health`` while it "loads". Requests beyond ``max_running`` or the KV cache wait in line. Its
metrics bear vLLM's names (0.11 and later), so that whatever reads a vLLM reads this. Deterministic: times follow from the document alone.
Every answer says that it is simulated.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator

import msgspec

from apps.contracts import exposition
from apps.simulator import openai
from apps.simulator.behaviour import ScenarioError
from apps.simulator.bill import RequestLine
from apps.simulator.http import Exchange, Step
from apps.simulator.server import Simulator

VERSION = "0.11.0"
"""The vLLM whose names it uses."""
CRASH_CODE = 70


class EngineDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one engine behaves. model: the name that it serves. ttft_ms, itl_ms: to the first token, and between tokens.
    output_tokens: of an answer whose request names no limit. load_seconds: from start to a healthy ``/health``. kv_tokens: prompt and
    output tokens that fit at once; 0: no bound. max_running: requests that generate at once. max_waiting: requests in line; more
    get 503; None: no bound. drain_seconds: how long what runs may go on after SIGTERM. crash_after_tokens: the process ends with code 70
    once so many output tokens were written, 0: never. freeze_after_tokens: from then on nothing is written and nothing ends, while
    ``/health`` stays green. broken: ``/health`` is green and every generation fails with 500."""

    model: str = "simulated"
    ttft_ms: float = 0.0
    itl_ms: float = 0.0
    output_tokens: int = 16
    load_seconds: float = 0.0
    kv_tokens: int = 0
    max_running: int = 256
    max_waiting: int | None = None
    drain_seconds: float = 0.0
    crash_after_tokens: int = 0
    freeze_after_tokens: int = 0
    broken: bool = False

    def __post_init__(self) -> None:
        for name in ("ttft_ms", "itl_ms", "load_seconds", "drain_seconds"):
            if not 0 <= getattr(self, name) < 1e7:
                raise ValueError(f"{name} must be from 0 to ten million")
        for name in ("output_tokens", "kv_tokens", "crash_after_tokens", "freeze_after_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.max_running < 1 or (self.max_waiting is not None and self.max_waiting < 0):
            raise ValueError("max_running must be 1 or more, max_waiting 0 or more")


def document_read(text: str) -> EngineDocument:
    """Raises ScenarioError."""
    try:
        return msgspec.json.decode(text, type=EngineDocument)
    except msgspec.DecodeError as error:
        raise ScenarioError(f"--engine: {error}") from None


class Observed:
    """One histogram of seconds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts: dict[float, int] = {}
        self.total = 0.0

    def add(self, seconds: float) -> None:
        bound = next((bound for bound in self.bounds if seconds <= bound), float("inf"))
        self.counts[bound] = self.counts.get(bound, 0) + 1
        self.total += seconds


class Request:
    """A request that waits or generates."""

    __slots__ = ("began", "end", "exchange", "line", "steps")

    def __init__(self, exchange: Exchange, line: RequestLine, steps: Iterator[Step], end: Callable[[bool], None], began: float) -> None:
        self.exchange = exchange
        self.line = line
        self.steps = steps
        self.end = end
        self.began = began


class EngineSimulator(Simulator):
    """One replica."""

    def __init__(self, name: str, document: EngineDocument, *, seed: int = 0, bearer: str = "") -> None:
        scenario = {
            "server": {
                "first_byte_ms": {"kind": "fixed", "value": document.ttft_ms},
                "tokens_per_second": 1000 / document.itl_ms if document.itl_ms else 0.0,
                "output_tokens": {"kind": "fixed", "value": document.output_tokens},
            },
            "served": [document.model],
            "only_served": True,
            "api_keys": [bearer] if bearer else None,
        }
        super().__init__(name, seed=seed, scenario=msgspec.json.encode(scenario))
        self.document = document
        self._bearer = f"Bearer {bearer}".encode() if bearer else b""
        self.running: dict[int, Request] = {}
        self.waiting: deque[Request] = deque()
        self.leaving = False
        self._ready_at = 0.0
        self._finished = 0
        self._prompt_tokens = 0
        self._output_tokens = 0
        self._ttft = Observed(exposition.SECONDS)
        self._itl = Observed(exposition.FINE_SECONDS)
        self._labels = (("model_name", document.model), ("simulated", "true"))
        self._routes.update(
            {
                "/health": ("GET", self._engine_health),
                "/version": ("GET", lambda exchange: self._json(exchange, openai.encode({"version": VERSION, openai.SIMULATED: True}))),
                "/metrics": ("GET", self._metrics),
            }
        )

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        await super().start(host, port)
        self._ready_at = self._clock() + self.document.load_seconds

    async def drained(self) -> None:
        """Refuse what is new; return when nothing runs, or after ``drain_seconds``."""
        self.leaving = True
        until = self._clock() + self.document.drain_seconds
        while (self.running or self.waiting) and self._clock() < until:  # noqa: ASYNC110  # once, at the end
            await asyncio.sleep(0.01)

    def handle(self, exchange: Exchange) -> None:
        """Its control and its bill demand the token, too: the one shows it, and both are for whoever may send requests."""
        given = exchange.headers.get(b"authorization", b"")
        if self._bearer and exchange.path.startswith("/sim/") and not hmac.compare_digest(given, self._bearer):
            self._error(exchange, 401, "Incorrect API key provided (simulated).", code="invalid_api_key")
            return
        super().handle(exchange)

    @property
    def loading(self) -> bool:
        return self._clock() < self._ready_at

    @property
    def frozen(self) -> bool:
        after = self.document.freeze_after_tokens
        return bool(after) and self._output_tokens >= after

    # Requests: a place first, then the provider's own steps

    def _serve(self, exchange: Exchange, operation: str, steps: Callable[[Exchange, RequestLine], Iterator[Step]]) -> None:
        if self.loading or self.leaving:
            self._error(exchange, 503, "The engine is loading its model" if self.loading else "The engine is shutting down")
            return
        if self.document.broken:
            self._error(exchange, 500, "CUDA error: an illegal memory access was encountered")
            return
        if self._full() and self.document.max_waiting is not None and len(self.waiting) >= self.document.max_waiting:
            self._error(exchange, 503, "The engine's queue is full", headers=b"retry-after: 1\r\n")
            return
        super()._serve(exchange, operation, steps)

    def _begin(self, exchange: Exchange, line: RequestLine, steps: Iterator[Step], end: Callable[[bool], None]) -> None:
        self.waiting.append(Request(exchange, line, steps, end, self._clock()))
        self._admit_waiting()

    def _kv_used(self) -> int:
        return sum(request.line.input_tokens + request.line.output_tokens for request in self.running.values())

    def _full(self, more: int = 0) -> bool:
        room = self.document.kv_tokens
        return bool(self.waiting) or len(self.running) >= self.document.max_running or bool(room and self._kv_used() + more > room)

    def _admit_waiting(self) -> None:
        while self.waiting and len(self.running) < self.document.max_running:
            request = self.waiting[0]
            room = self.document.kv_tokens
            if room and self.running and self._kv_used() + request.line.input_tokens > room:
                return
            self.waiting.popleft()
            if request.exchange.left:
                request.end(False)
                continue
            self.running[id(request)] = request
            self._prompt_tokens += request.line.input_tokens
            request.exchange.run(self._watched(request), lambda whole, request=request: self._ended(request, whole))  # type: ignore[misc]

    def _ended(self, request: Request, whole: bool) -> None:
        self.running.pop(id(request), None)
        self._finished += whole
        request.end(whole)
        self._admit_waiting()

    def _watched(self, request: Request) -> Generator[Step, None, None]:
        """The steps of an answer, its tokens counted as they are written."""
        line, told, last = request.line, 0, 0.0
        try:
            for step in request.steps:
                if self.frozen:
                    yield "hang"
                if isinstance(step, bytes):
                    now = self._clock()
                    fresh = line.output_tokens - told
                    if not last:
                        self._ttft.add(now - request.began)
                    elif fresh > 0:
                        self._itl.add((now - last) / fresh)
                    last, told = now, line.output_tokens
                    self._output_tokens += fresh
                    if self.document.crash_after_tokens and self._output_tokens >= self.document.crash_after_tokens:
                        print("simulated crash: CUDA error: device-side assert triggered", flush=True)
                        os._exit(CRASH_CODE)
                yield step
        finally:
            if isinstance(request.steps, Generator):
                request.steps.close()

    # What the engine says of itself

    def _engine_health(self, exchange: Exchange) -> None:
        if self.loading:
            self._error(exchange, 503, "The engine is loading its model")
        else:
            exchange.send(200, self._headers(""), b"")

    def _metrics(self, exchange: Exchange) -> None:
        if self.loading:
            self._error(exchange, 503, "The engine is loading its model")
            return
        room = self.document.kv_tokens
        gauges = {
            "vllm:num_requests_running": ("Requests that generate.", len(self.running)),
            "vllm:num_requests_waiting": ("Requests in line.", len(self.waiting)),
            "vllm:kv_cache_usage_perc": ("Share of the KV cache in use, 0 to 1.", min(1.0, self._kv_used() / room) if room else 0.0),
        }
        counters = {
            "vllm:prompt_tokens": ("Prompt tokens.", self._prompt_tokens),
            "vllm:generation_tokens": ("Output tokens.", self._output_tokens),
            "vllm:num_preemptions": ("Preemptions: none, ever.", 0),
            "vllm:request_success": ("Requests that ended well.", self._finished),
        }
        families = [exposition.Family(n, "gauge", h, [exposition.Sample(self._labels, v)]) for n, (h, v) in gauges.items()]
        families += [exposition.Family(n, "counter", h, [exposition.Sample(self._labels, v)]) for n, (h, v) in counters.items()]
        for name, seen in (("vllm:time_to_first_token_seconds", self._ttft), ("vllm:inter_token_latency_seconds", self._itl)):
            samples = [exposition.Distribution(self._labels, seen.counts, seen.total)]
            families.append(exposition.Family(name, "histogram", "Seconds.", samples, "seconds", seen.bounds))
        content_type, body = exposition.rendered(families)
        exchange.send(200, self._headers("") + b"content-type: %b\r\n" % content_type.encode(), body)
