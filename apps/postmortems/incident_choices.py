"""Words of incidents: states, severities with what they mean unless an organisation says otherwise, roles, where one came from."""

from __future__ import annotations

from dataclasses import dataclass

from apps.ui.status import Status

TRIAGE, ACTIVE, MITIGATED, RESOLVED, CLOSED, CANCELLED, MERGED = (
    "triage", "active", "mitigated", "resolved", "closed", "cancelled", "merged",
)  # fmt: skip
STATES: dict[str, Status] = {
    status.value: status
    for status in (
        Status(TRIAGE, "Triage", "warn", "question", hint="Somebody looks whether it is one, and how bad."),
        Status(ACTIVE, "Active", "bad", hint="It is one, and people feel it."),
        Status(MITIGATED, "Mitigated", "warn", hint="People feel it no more; what broke is not mended yet."),
        Status(RESOLVED, "Resolved", "good", hint="What broke is mended."),
        Status(CLOSED, "Closed", "neutral", "check", hint="Everything about it is done."),
        Status(CANCELLED, "Cancelled", "neutral", "dash", hint="It was none."),
        Status(MERGED, "Merged", "neutral", "right", hint="It is part of another incident."),
    )
}
OPEN = (TRIAGE, ACTIVE, MITIGATED)
"""States in which somebody is at work."""
FINAL = (CLOSED, CANCELLED, MERGED)

SEV1, SEV2, SEV3, SEV4 = "sev1", "sev2", "sev3", "sev4"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a severity says. postmortem: whether an incident of it needs one."""

    level: str
    title: str
    meaning: str
    postmortem: bool

    @property
    def label(self) -> str:
        """``SEV1``."""
        return self.level.upper()


MEANINGS: dict[str, Meaning] = {
    one.level: one
    for one in (
        Meaning(
            SEV1,
            "Critical",
            "Most users of a service get no answer or wrong ones, money runs away, or data is at risk. Everybody comes.",
            True,
        ),
        Meaning(
            SEV2,
            "Major",
            "Many users of a service fail or wait far longer than promised, and there is no way round. The owners come now.",
            True,
        ),
        Meaning(SEV3, "Minor", "Some users are hit, or a fallback carries everybody. The owners come in working hours.", False),
        Meaning(SEV4, "Low", "Nobody is hit yet: something broke that nobody uses now, or that the next fault would need.", False),
    )
}
"""By level, worst first: what holds where an organisation has written nothing of its own."""
SEVERITIES: dict[str, Status] = {
    SEV1: Status(SEV1, "SEV1", "bad", "cross"),
    SEV2: Status(SEV2, "SEV2", "bad", "warning"),
    SEV3: Status(SEV3, "SEV3", "warn", "warning"),
    SEV4: Status(SEV4, "SEV4", "info", "info"),
}

PERSON, ALERT, DRILL, API, COMMAND, CHAT = "person", "alert", "drill", "api", "command", "chat"
SOURCES = {
    PERSON: "a person",
    ALERT: "an alert",
    DRILL: "a drill",
    API: "the API",
    COMMAND: "the command line",
    CHAT: "a slash command",
}

ROLES = {
    "commander": "Commander",
    "scribe": "Scribe",
    "liaison": "Liaison",
}
ROLE_HELP = {
    "commander": "decides, and hands out what is to do",
    "scribe": "writes down what people do and why",
    "liaison": "tells everybody outside how it stands",
}

TIMES = {
    "started_at": "Began",
    "detected_at": "Detected",
    "acknowledged_at": "Acknowledged",
    "mitigated_at": "Mitigated",
    "resolved_at": "Resolved",
    "closed_at": "Closed",
}

NOTE, UPDATE, STATE, ROLE, FACT, ALERT_EVENT, ATTACHMENT, CHECKLIST = (
    "note", "update", "state", "role", "fact", "alert", "attachment", "checklist",
)  # fmt: skip
ENTRY_KINDS = {
    NOTE: "Notes",
    UPDATE: "Status updates",
    STATE: "States and times",
    ROLE: "Roles",
    FACT: "Facts",
    ALERT_EVENT: "Alerts",
    ATTACHMENT: "Attachments",
    CHECKLIST: "Runbook steps",
}
"""What stands in a timeline, by where it comes from."""

DECLARED_EVENT, OVER_EVENT = "incident.declared", "incident.over"
"""Kinds of the facts that plots and notifications show."""
