"""Exports the traces of settled requests by OTLP (http/protobuf), in a thread of the shipper that settlement never waits for.

``offer`` is called after each committed batch: it chooses (``apps.settlement.sampling``) and queues, and does nothing else. The queue is
bounded and so is the rate at which it takes requests; what does not fit is dropped and counted. A collector that is away is tried again
for about a minute a batch, by the exporter's own back-off; then the batch is dropped and counted, and the next one tried. Traces
are a copy of what the usage tables hold: a shipper that is killed loses those it had queued, and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from apps.contracts.env import Reader, SettingError
from apps.contracts.usage import UsageRecord
from apps.settlement.sampling import Sampling
from apps.settlement.spans import resource_of, spans_of

log = logging.getLogger("bulkhead.shipper")

MAX_QUEUE = 4_096
"""Requests that wait to be exported."""
BATCH = 256
"""Requests exported in one call."""
PER_SECOND = 500
"""Requests taken a second at most: building spans costs the shipper's core about as much as settling does."""
TIMEOUT_SECONDS = 10.0
"""Of one export, the exporter's own retries included."""
ROUNDS = 6
"""Exports of one batch before it is dropped."""
PAUSE_SECONDS = 1.0
FLUSH_SECONDS = 3.0
"""How long a stopping shipper goes on exporting what is queued."""


class Exporter(Protocol):
    """``opentelemetry``'s exporter, or a test's."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult: ...

    def shutdown(self) -> None: ...


class Traces:
    """The queue, its thread and what became of everything that was offered."""

    def __init__(
        self,
        exporter: Exporter,
        sampling: Sampling,
        *,
        environment: str = "local",
        target: str = "",
        per_second: int = PER_SECOND,
        queue: int = MAX_QUEUE,
        pause: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.exported = self.dropped = 0
        """Requests whose spans a collector has taken; requests that were chosen and are lost."""
        self.failing = ""
        """Why the last export failed; empty once one worked."""
        self.target = target
        self._exporter = exporter
        self._sampling = sampling
        self._environment = environment
        self._per_second = per_second
        self._queue: deque[tuple[UsageRecord, str]] = deque()
        self._most = queue
        self._pause = pause
        self._clock = clock
        self._second, self._taken = -1, 0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._resources: dict[str, Resource] = {}
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    @classmethod
    def of_settings(cls, read: Reader) -> Traces | None:
        """As ``BULKHEAD_TRACES_*`` say; None where no collector is named (``BULKHEAD_TRACES_URL``). Raises SettingError."""
        url = read.text("BULKHEAD_TRACES_URL", "")
        sampling = Sampling.read(read)
        if not url:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingError(f"BULKHEAD_TRACES_URL={url[:200]!r} is not an address such as http://collector:4318/v1/traces")
        headers = headers_read(read.secret("BULKHEAD_TRACES_HEADERS", "").decode())
        exporter = OTLPSpanExporter(endpoint=url, headers=headers, timeout=TIMEOUT_SECONDS, compression=Compression.Gzip)
        # it would log each try, the address with its user included; what fails is said here, once
        logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").setLevel(logging.CRITICAL)
        return cls(
            exporter,
            sampling,
            environment=read.text("BULKHEAD_ENVIRONMENT_NAME", "local"),
            target=f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}",
            per_second=read.integer("BULKHEAD_TRACES_PER_SECOND", PER_SECOND, minimum=1),
        )

    def start(self) -> None:
        self._thread.start()

    def offer(self, records: Iterable[UsageRecord]) -> None:
        """Choose and queue; never waits, never raises."""
        for record in records:
            reason = self._sampling.keeps(record)
            if not reason:
                continue
            second = int(self._clock())
            if second != self._second:
                self._second, self._taken = second, 0
            if self._taken >= self._per_second or len(self._queue) >= self._most:
                self.dropped += 1
                continue
            self._taken += 1
            self._queue.append((record, reason))
        if self._queue:
            self._wake.set()

    def stop(self, seconds: float = FLUSH_SECONDS) -> None:
        """Export what is queued, for so long at most; the rest counts as dropped."""
        self._stop.set()
        self._wake.set()
        self._thread.join(seconds)
        self._exporter.shutdown()

    def state(self) -> dict[str, Any]:
        """For the shipper's status file."""
        return {
            "target": self.target,
            "exported": self.exported,
            "dropped": self.dropped,
            "queued": len(self._queue),
            "failing": self.failing,
        }

    # -- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                if self._export(batch):
                    self.exported += len(batch)
                else:
                    self.dropped += len(batch)
            if self._stop.is_set():
                return

    def _export(self, batch: Sequence[tuple[UsageRecord, str]]) -> bool:
        spans = self._built(batch)
        for _ in range(ROUNDS):
            error = "the collector does not take them; look at its log"
            try:
                if self._exporter.export(spans) is SpanExportResult.SUCCESS:
                    if self.failing:
                        log.warning("traces are exported to %s again", self.target)
                    self.failing = ""
                    return True
            except Exception as raised:  # the thread must outlive whatever a collector answers
                error = f"{type(raised).__name__}: {raised}"
            if not self.failing:
                log.warning("traces cannot be exported to %s (%s); trying again, at most %d requests wait", self.target, error, self._most)
            self.failing = error
            if self._stop.wait(self._pause):
                return False
        return False

    def _built(self, batch: Sequence[tuple[UsageRecord, str]]) -> list[ReadableSpan]:
        spans: list[ReadableSpan] = []
        for record, reason in batch:
            resource = self._resources.get(record.proxy)
            if resource is None:
                if len(self._resources) > 64:
                    self._resources.clear()
                resource = self._resources[record.proxy] = resource_of(record, self._environment)
            spans += spans_of(record, resource, reason)
        return spans


def headers_read(text: str) -> Mapping[str, str]:
    """``name=value,name=value``, as collectors' documentation writes them. Raises SettingError."""
    found = {}
    for part in filter(None, (part.strip() for part in text.replace("\n", ",").split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or not value.strip().isprintable():
            raise SettingError("BULKHEAD_TRACES_HEADERS must read name=value,name=value, such as authorization=Bearer TOKEN")
        found[name.strip()] = value.strip()
    return found
