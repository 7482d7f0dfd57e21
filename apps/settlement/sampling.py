"""Which requests are exported as traces. Pure; decided after the request, so that what went wrong can be kept whole."""

from __future__ import annotations

from dataclasses import dataclass

from apps.contracts.env import Reader, SettingError
from apps.contracts.traceparent import SAMPLED
from apps.contracts.usage import UsageRecord
from apps.settlement.spans import BROKEN, trace_id_of

RULES = ("errors", "slow", "flagged", "caller")
SLOW_MS = 10_000
SHARE_PERCENT = 1.0
_SPACE = 1 << 56
"""The last seven bytes of a trace id are random: equal for all of a trace, so that its parts are chosen together."""
_MARKS = ("variant:", "secret:")
"""What a record's flags begin with that are not flags: the variant of a split, and which of a key's secrets was used."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The rules, any of which keeps a request.

    errors: it failed, was refused or has an unknown outcome. slow_ms: it took at least so long, 0: no such rule. flagged: a flag had a
    say in it. caller: its caller records the trace. share: of all others, 0 to 1, by trace id.
    """

    errors: bool = True
    slow_ms: int = SLOW_MS
    flagged: bool = True
    caller: bool = True
    share: float = SHARE_PERCENT / 100

    @classmethod
    def read(cls, read: Reader) -> Sampling:
        """``BULKHEAD_TRACES_KEEP`` (rules by name, ``none`` for no rule), ``_SLOW_MS``, ``_SHARE_PERCENT``. Raises SettingError."""
        text = read.text("BULKHEAD_TRACES_KEEP", ",".join(RULES))
        names = [] if text.strip() == "none" else [name.strip() for name in text.split(",") if name.strip()]
        wrong = [name for name in names if name not in RULES]
        if wrong:
            raise SettingError(f"BULKHEAD_TRACES_KEEP names {wrong[0]!r}: it takes {', '.join(RULES)}, separated by commas, or none")
        share = read.text("BULKHEAD_TRACES_SHARE_PERCENT", str(SHARE_PERCENT))
        try:
            percent = float(share)
        except ValueError:
            percent = -1.0
        if not 0 <= percent <= 100:
            raise SettingError(f"BULKHEAD_TRACES_SHARE_PERCENT={share!r} is not a number from 0 to 100")
        slow_ms = read.integer("BULKHEAD_TRACES_SLOW_MS", SLOW_MS, minimum=1)
        return cls("errors" in names, slow_ms if "slow" in names else 0, "flagged" in names, "caller" in names, percent / 100)

    def keeps(self, record: UsageRecord) -> str:
        """The first rule that keeps the request; empty where none does."""
        if self.errors and (record.outcome in BROKEN or record.outcome == "refused"):
            return "errors"
        if self.slow_ms and record.total_us >= self.slow_ms * 1000:
            return "slow"
        if self.caller and record.trace and record.trace[-1] & SAMPLED:
            return "caller"
        if self.flagged and any(not flag.startswith(_MARKS) for flag in record.flags):
            return "flagged"
        if self.share and int.from_bytes(trace_id_of(record)[-7:], "big") < self.share * _SPACE:
            return "share"
        return ""
