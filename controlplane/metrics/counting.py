"""Counts what this web process answers, by view and status. One process counts for itself; where there are several, each is scraped."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from apps.contracts import histogram
from apps.contracts.exposition import SECONDS, Distribution, Family, Folding, Sample, folded_family, gauge, in_seconds

MOST_VIEWS = 300
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class WebMetrics:
    """One process's counts. Requests are answered in several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._views = Folding("view", MOST_VIEWS)
        self._answered: Counter[tuple[str, str, int]] = Counter()
        self._durations: dict[str, dict[int, int]] = {}
        """By area, the part of a view's name before the colon."""

    def began(self) -> None:
        with self._lock:
            self._running += 1

    def ended(self, *, view: str, method: str, status: int, seconds: float) -> None:
        """Once per ``began``. view: its name, empty where no address matched."""
        with self._lock:
            self._running -= 1
            place = self._views.place(view or "none")
            self._answered[place, method if method in METHODS else "other", status] += 1
            area = place.partition(":")[0]
            histogram.add(self._durations.setdefault(area, {}), seconds * 1e6)

    def families(self) -> list[Family]:
        with self._lock:
            answered = sorted(self._answered.items())
            durations = [(area, in_seconds(counts, SECONDS)) for area, counts in sorted(self._durations.items())]
            running = self._running
        return [
            Family(
                "bulkhead_web_requests",
                "counter",
                "Answers of this web process, by view, method and status.",
                [
                    Sample((("view", view), ("method", method), ("status", str(status))), count)
                    for (view, method, status), count in answered
                ],
            ),
            Family(
                "bulkhead_web_request_duration_seconds",
                "histogram",
                "How long this web process took, by area.",
                [Distribution((("area", area),), counts, total) for area, (counts, total) in durations],
                "seconds",
            ),
            gauge("bulkhead_web_requests_running", "Requests that this web process is answering.", running),
            folded_family([self._views]),
        ]


WEB = WebMetrics()


class MeasuredMiddleware:
    """Outside of everything that may answer in a view's place."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        WEB.began()
        started, status = time.perf_counter(), 500
        try:
            response = self.get_response(request)
            status = response.status_code
            return response
        finally:
            match = request.resolver_match
            WEB.ended(
                view=match.view_name if match is not None else "",
                method=request.method or "",
                status=status,
                seconds=time.perf_counter() - started,
            )
