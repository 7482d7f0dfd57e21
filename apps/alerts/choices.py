"""Words of alerts: states, severities, what happens to one, how a rule compares, what an SLO promises."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from apps.ui.status import Status

PENDING, FIRING, ACKNOWLEDGED, RESOLVED = "pending", "firing", "acknowledged", "resolved"
OPEN = (PENDING, FIRING, ACKNOWLEDGED)
FIRED = (FIRING, ACKNOWLEDGED)
"""States of an alert that is out: somebody was told, or would have been but for a silence or a worse alert."""
STATES: dict[str, Status] = {
    status.value: status
    for status in (
        Status(PENDING, "Pending", "warn", "clock", hint="The rule holds, but not yet for as long as it must."),
        Status(FIRING, "Firing", "bad", hint="The rule holds, and nobody has said that they look after it."),
        Status(ACKNOWLEDGED, "Acknowledged", "warn", hint="Somebody looks after it."),
        Status(RESOLVED, "Resolved", "good", hint="It is over."),
    )
}

WARNING, CRITICAL = "warning", "critical"
SEVERITIES: dict[str, Status] = {
    status.value: status for status in (Status(WARNING, "Warning", "warn"), Status(CRITICAL, "Critical", "bad"))
}
RANK = {"": 0, WARNING: 1, CRITICAL: 2}
"""Severity -> how bad; the higher the worse. Empty: nothing is wrong."""

EVENT_KINDS: dict[str, str] = {
    "pending": "Began",
    "fired": "Fired",
    "worsened": "Became critical",
    "eased": "Is a warning again",
    "acknowledged": "Acknowledged",
    "silenced": "Silenced",
    "unsilenced": "Silence is over, and it still fires",
    "inhibited": "Explained by a worse alert",
    "uninhibited": "No longer explained by another alert",
    "no_data": "Nothing is measured any more",
    "data_back": "Measured again",
    "resolved": "Resolved",
    "cleared": "Over before it fired",
    "note": "Note",
}
"""What happens to an alert, by the kind of its event."""
TELLING = ("fired", "worsened", "unsilenced", "uninhibited", "resolved")
"""Kinds of events that people are told of, unless the event says ``muted``."""

FIRED_EVENT, RESOLVED_EVENT = "alert.fired", "alert.resolved"
"""Kinds of the facts that timelines and plots show."""

ABOVE, BELOW, TIMES_BASELINE = "above", "below", "times_baseline"
COMPARISONS = {
    ABOVE: "at or above",
    BELOW: "at or below",
    TIMES_BASELINE: "times what is usual at this hour, or more",
}

ON_MISSING = {
    "hold": "keep what is known, and let it go after an hour",
    "alert": "warn: something should be measured here, and is not",
}
"""What a rule makes of nothing measured; it is never taken for zero."""

WINDOWS = {
    60: "1 min", 300: "5 min", 600: "10 min", 1_800: "30 min", 3_600: "1 h", 10_800: "3 h", 21_600: "6 h", 86_400: "1 day"
}  # fmt: skip
"""Seconds that a rule looks back -> words."""

EVERYTHING, OTHER = "", "(other)"
"""Subject of what is looked at as a whole, and of all that is too little or too many to be looked at by itself."""

SCOPES = {
    "": "everything",
    "route": "each route",
    "provider": "each provider",
    "key": "each key",
    "model": "each model",
    "team": "each team",
    "service": "each service",
    "feature": "each feature",
    "budget": "each budget",
    "queue": "each queue",
    "proxy": "each proxy",
}
"""What a rule looks at one by one -> words."""

AVAILABILITY, TTFT, LATENCY = "availability", "ttft", "latency"
INDICATORS = {
    AVAILABILITY: "Availability: requests that were answered well",
    TTFT: "Time to first token within a bound",
    LATENCY: "Answers whole within a bound",
}
SLO_SCOPES = ("", "route", "provider", "key", "model", "team", "service", "feature")
SLO_WINDOWS = {7: "7 days", 28: "28 days", 30: "30 days", 90: "90 days"}

NOTE_WORDS = {"degraded": "Degraded", "down": "Down"}
"""What a person can say of a provider."""

INCIDENTS = {"": "No", "sev1": "Yes, as SEV1", "sev2": "Yes, as SEV2", "sev3": "Yes, as SEV3", "sev4": "Yes, as SEV4"}
"""Whether an alert that people are told of opens an incident, and as what."""

SLO_SERIES = "slo_burn"
"""The series of the rule that each SLO has."""


class Burn(NamedTuple):
    """One pair of windows: alert where both burn at ``factor`` times the rate that uses the error budget up exactly."""

    factor: float
    long_s: int
    short_s: int
    severity: str


BURNS = (
    Burn(14.4, 3_600, 300, CRITICAL),
    Burn(6.0, 21_600, 1_800, CRITICAL),
    Burn(3.0, 86_400, 7_200, WARNING),
    Burn(1.0, 259_200, 21_600, WARNING),
)
"""Of a 30-day budget they use up 2, 5, 10 and 10 percent before they fire."""

LATE = timedelta(minutes=3)
"""Evaluation that is so far behind is late."""
STOPPED = timedelta(minutes=10)
EVALUATION: dict[str, Status] = {
    status.value: status
    for status in (
        Status("running", "Evaluated", "good", hint="Every rule was looked at within the last minutes."),
        Status("late", "Late", "warn", "clock", hint="Rules were not looked at for some minutes."),
        Status("stopped", "Stopped", "bad", hint="No alert can fire: is a Celery worker running, and beat?"),
        Status("never", "Not evaluated yet", "unknown", hint="Rules are first looked at a minute or two after the start."),
    )
}
