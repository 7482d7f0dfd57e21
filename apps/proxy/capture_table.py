"""Who is captured, compiled: what config says of samples, checked and with the organisation's patterns read."""

from __future__ import annotations

from collections.abc import Mapping

from apps.contracts.redaction import PatternRefused, Redactor
from apps.contracts.snapshot import CaptureFragment, Fragment
from apps.proxy.resilience import CompileError

MOST_OF_KEY = 1_000


class CompiledCapture:
    """One wish for samples, with what takes their secrets out."""

    __slots__ = ("id", "left", "redactor", "share", "until_ms")

    def __init__(self, fragment: CaptureFragment, redactor: Redactor) -> None:
        self.id = fragment.id
        self.share = fragment.sampled / 10_000
        self.left = fragment.left
        self.until_ms = fragment.until_ms
        self.redactor = redactor


class CaptureTable:
    """Who is captured: by the id of a route, by the id of a key."""

    __slots__ = ("keys", "routes")

    def __init__(self, fragments: Mapping[str, Fragment]) -> None:
        """Raises CompileError."""
        self.routes: dict[str, CompiledCapture] = {}
        self.keys: dict[str, CompiledCapture] = {}
        redactors: dict[tuple[tuple[str, str], ...], Redactor] = {}
        for fragment in fragments.values():
            if not isinstance(fragment, CaptureFragment):
                continue
            if bool(fragment.route) == bool(fragment.key):
                raise CompileError("captures", fragment.id, "route", "a capture is of a route or of a key")
            if not 0 <= fragment.sampled <= 10_000:
                raise CompileError("captures", fragment.id, "sampled", "must be 0 to 10000 hundredths of a percent")
            if not 0 <= fragment.left <= MOST_OF_KEY:
                raise CompileError("captures", fragment.id, "left", f"must be 0 to {MOST_OF_KEY}")
            redactor = redactors.get(fragment.patterns)
            if redactor is None:
                try:
                    redactor = redactors[fragment.patterns] = Redactor(fragment.patterns)
                except PatternRefused as error:
                    raise CompileError("captures", fragment.id, "patterns", str(error)) from None
            found = CompiledCapture(fragment, redactor)
            if fragment.route:
                self.routes[fragment.route] = found
            else:
                self.keys[fragment.key] = found


def capture_table(fragments: Mapping[str, Fragment]) -> CaptureTable | None:
    """None where nothing is captured. Raises CompileError."""
    return CaptureTable(fragments) if fragments else None
