"""States of a change request, kinds of notices, and the facts that changes record."""

from __future__ import annotations

from apps.ui.status import Status

WAITING, SCHEDULED, APPLIED = "waiting", "scheduled", "applied"
REJECTED, WITHDRAWN, EXPIRED, MISSED, FAILED = "rejected", "withdrawn", "expired", "missed", "failed"

STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status(WAITING, "Waits for a second person", "warn", "clock", hint="Nothing happens until somebody else approves it."),
        Status(SCHEDULED, "Scheduled", "info", "clock", hint="It happens by itself at its time."),
        Status(APPLIED, "Done", "good", hint="It happened, once."),
        Status(REJECTED, "Rejected", "bad", hint="Somebody else said no."),
        Status(WITHDRAWN, "Withdrawn", "neutral", "undo", hint="Taken back before it happened."),
        Status(EXPIRED, "Nobody answered", "unknown", hint="Its time to be approved ran out; ask again."),
        Status(MISSED, "Missed", "bad", hint="Its time had passed by more than was allowed when it could have run."),
        Status(FAILED, "Not done", "bad", hint="Something had changed, or the config could not be published; see why."),
    )
}
OPEN_STATES = (WAITING, SCHEDULED)

OPEN, CLOSED = "open", "closed"
REVIEWS: dict[str, Status] = {
    OPEN: Status(OPEN, "Review open", "warn", "shield", hint="One person did it alone; somebody else looks at it afterwards."),
    CLOSED: Status(CLOSED, "Reviewed", "good", hint="Somebody else has looked at it."),
}
VERDICTS = {"justified": "It was right to do it alone", "unjustified": "It should have waited for a second person"}

TURNING = {"on": "turning on", "off": "turning off", "either": "turning on and off"}
ENVIRONMENTS = ("production", "staging", "development")

REQUEST, GLASS, STALE, EXPIRY, OUTCOME, LOOSENED = "request", "break-glass", "stale", "expired", "outcome", "loosened"
NOTICES = {
    REQUEST: "A flip waits for a second person",
    GLASS: "A flip was done by one person alone",
    STALE: "A flag was not exercised for long",
    EXPIRY: "A flag expired",
    OUTCOME: "What became of a request",
    LOOSENED: "A rule about two persons ends",
}

GLASS_EVENT = "flag.break_glass"
LATE_EVENT = "flag.change_late"
MISSED_EVENT = "flag.change_missed"
EXPIRED_EVENT = "flag.expired"
STALE_EVENT = "flag.stale"
