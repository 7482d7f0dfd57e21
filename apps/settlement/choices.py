"""States of a journal as the shipper sees it."""

from __future__ import annotations

from apps.ui.status import Status

LIVE, DRAINED, WRITTEN_OFF = "live", "drained", "written_off"

JOURNAL_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status(LIVE, "Being settled", "good", "progress"),
        Status(DRAINED, "Settled to its end", "neutral", "check"),
        Status(WRITTEN_OFF, "Written off", "bad", hint="An operator gave the journal up; what its leases held counts as spent."),
    )
}
