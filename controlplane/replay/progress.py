"""Where a replay stands: one line that is rewritten on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

from typing import TextIO

from controlplane.replay.summary import Tally

_WIDTH = 30
_PLAIN_SECONDS = 5.0


class Progress:
    """Writes to ``stream``; ``show`` may be called as often as one likes."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self._stream = stream
        self._total = total
        self._terminal = stream.isatty()
        self._shown_at = 0.0
        self._wrote = False

    def show(self, tally: Tally, *, elapsed: float, in_flight: int, lag: float) -> None:
        """elapsed, lag: seconds."""
        if elapsed - self._shown_at < (0.1 if self._terminal else _PLAIN_SECONDS):
            return
        self._shown_at = elapsed
        rate = tally.done / elapsed if elapsed > 0 else 0.0
        text = (
            f"{tally.done:,}/{self._total:,}  ok {tally.ok:,}  failed {tally.failed.total():,}  in flight {in_flight:,}  "
            f"{rate:,.0f}/s  lag {lag * 1000:,.0f} ms"
        )
        if self._terminal:
            filled = _WIDTH * tally.done // max(1, self._total)
            self._stream.write(f"\r\x1b[K[{'#' * filled}{'.' * (_WIDTH - filled)}] {text}")
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
        self._wrote = True

    def close(self) -> None:
        if self._terminal and self._wrote:
            self._stream.write("\n")
            self._stream.flush()
