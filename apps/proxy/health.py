"""How quick a target is right now, as one process sees it: peak-EWMA, 95th percentile, attempts in flight, bytes per token.

Peak-EWMA (Finagle's): a slower answer than expected counts at once and in full, quicker ones win the average back over DECAY_SECONDS;
without answers the average decays, so a target that was slow is tried again after a while. Multiplied with what is in flight, it is
the wait that one more request should expect.

Seconds everywhere; ``now`` is any steady clock's time. Nothing here is shared between processes.
"""

from __future__ import annotations

import math
from collections import Counter

from apps.contracts import histogram

DECAY_SECONDS = 10.0
"""After this long without an answer an average has lost 63 % of itself."""
UNKNOWN_SECONDS = 1.0
"""Expected of each attempt in flight at a target that has not answered yet: one is sent there to learn, not all at once."""
FAILED_SECONDS = 1.0
"""A failure, however quick, counts as at least this slow: nobody is drawn to a target because it refuses promptly."""
MAX_SECONDS = 600.0
SLICE_SECONDS = 60.0
"""p95 looks at this much and the one before it."""
MIN_SAMPLES = 20
"""Fewer answers than this say nothing about a 95th percentile."""
MOST_SAMPLES = 64
"""Of what comes at once, no more than about as many are added to the histogram that p95 is read from."""
REFRESH_SAMPLES = 16
"""p95 is computed again after as many further answers."""
MIN_CALIBRATION_TOKENS = 128
"""Shorter requests say more of a chat template than of a tokenizer."""
_FASTEST, _SLOWEST = 0.02, 0.2
"""Weights of one sample in the average of bytes per token: once many were seen, and of the first ones."""


class Health:
    """One per target label and process."""

    __slots__ = ("_after", "_before", "_count", "_deviation", "_ewma", "_mean", "_p95", "_samples", "_slice_end", "_stamp", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        self._ewma = 0.0
        self._stamp = 0.0
        self._before: Counter[int] = Counter()
        self._after: Counter[int] = Counter()
        """Histograms of the slice before and the present one (``apps.contracts.histogram``, microseconds)."""
        self._slice_end = 0.0
        self._count = 0
        """Samples since p95 was last computed."""
        self._p95: float | None = None
        self._samples = 0
        self._mean = 0.0
        self._deviation = 0.0

    # --- latency ---

    def started(self) -> None:
        self.in_flight += 1

    def finished(self, now: float) -> None:
        """The attempt ended, however: exactly once per ``started``."""
        self.in_flight -= 1

    def first_token(self, seconds: float, now: float) -> None:
        """The first real output came after ``seconds`` (JSON: the whole answer)."""
        self._observe(seconds, now)
        if now >= self._slice_end:
            # a pause longer than a slice leaves nothing recent behind
            self._before = self._after if now < self._slice_end + SLICE_SECONDS else Counter()
            self._after = Counter()
            self._slice_end = now + SLICE_SECONDS
            self._count = REFRESH_SAMPLES
        micros = seconds * 1e6
        index = histogram.index_of(micros)
        self._after[index] = self._after.get(index, 0) + 1
        self._count += 1

    def first_tokens(self, nanoseconds: list[int], now: float) -> None:
        """Several that came since the last time, in order: the average hears what it would hear of each, p95 an even choice of them.

        At one ``now`` an average moves to its first sample, and from there only up: to the slowest.
        """
        self.first_token(nanoseconds[0] / 1e9, now)
        if len(nanoseconds) == 1:
            return
        self._observe(max(nanoseconds) / 1e9, now)
        step = 1 + len(nanoseconds) // MOST_SAMPLES
        sampled = nanoseconds[step::step]
        self._after.update(map(histogram.index_of_whole, [each // 1000 for each in sampled]))
        self._count += len(sampled)

    def failed(self, now: float) -> None:
        """An attempt failed by the target's fault: it is expected to be slow for a while."""
        self._observe(max(FAILED_SECONDS, 2 * self._decayed(now)), now)

    def expected(self, now: float) -> float:
        """Seconds that one more request should expect to wait; 0 for a target that nothing is known of."""
        average = self._decayed(now)
        if average <= 0.0:
            return UNKNOWN_SECONDS * self.in_flight
        return average * (self.in_flight + 1)

    def p95(self) -> float | None:
        """Of the time to the first token over the last one to two minutes of traffic; None without enough samples."""
        if self._count >= REFRESH_SAMPLES:
            self._count = 0
            both = dict(self._before)
            histogram.merge(both, self._after)
            found = histogram.quantile(both, 0.95) if sum(both.values()) >= MIN_SAMPLES else None
            self._p95 = None if found is None else found / 1e6
        return self._p95

    def _observe(self, seconds: float, now: float) -> None:
        seconds = min(seconds, MAX_SECONDS)
        average = self._decayed(now)
        if seconds >= average:
            self._ewma = seconds
        else:
            weight = math.exp((self._stamp - now) / DECAY_SECONDS) if now > self._stamp else 1.0
            self._ewma = self._ewma * weight + seconds * (1.0 - weight)
        self._stamp = max(self._stamp, now)

    def _decayed(self, now: float) -> float:
        age = now - self._stamp
        return self._ewma * math.exp(-age / DECAY_SECONDS) if age > 0.0 else self._ewma

    # --- bytes per token ---

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of a request's body per input token, on the low side of what was measured (mean less mean deviation), so that a
        count made with it is rather too high; 0.0 before anything was measured."""
        return max(self._mean - self._deviation, self._mean / 2)

    def calibrate(self, size: int, tokens: int) -> None:
        """What the provider counted (``tokens``) for a body of ``size`` bytes without images."""
        if tokens < MIN_CALIBRATION_TOKENS or size <= 0:
            return
        measured = min(max(size / tokens, 0.5), 16.0)
        self._samples += 1
        if self._samples == 1:
            self._mean, self._deviation = measured, measured / 8
            return
        weight = max(_FASTEST, min(_SLOWEST, 1 / self._samples))
        self._deviation += weight * (abs(measured - self._mean) - self._deviation)
        self._mean += weight * (measured - self._mean)
