"""Words of telling people: kinds of channels, whom a step of escalation reaches, what became of a delivery."""

from __future__ import annotations

from dataclasses import dataclass

from apps.ui.status import Status

EMAIL, WEBHOOK, SLACK, PAGERDUTY, NTFY = "email", "webhook", "slack", "pagerduty", "ntfy"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of channel. address: what its address is, with an example. secret: what its secret is; empty where it has none.

    repeatable: its receiver drops what it has seen before (by an id in the message), so that what nobody knows the end of is sent again.
    """

    label: str
    address: str
    example: str
    secret: str = ""
    repeatable: bool = False


KINDS: dict[str, Kind] = {
    EMAIL: Kind("E-mail", "Addresses, separated by commas", "oncall@example.com, team@example.com"),
    WEBHOOK: Kind(
        "Webhook (CloudEvents)", "Address that takes POST", "https://hooks.example.com/alerts", "Signing secret (whsec_…)", repeatable=True
    ),
    SLACK: Kind("Slack-compatible webhook", "Incoming webhook's address", "https://hooks.slack.com/services/T000/B000/XXXX"),
    PAGERDUTY: Kind(
        "PagerDuty-compatible events",
        "Address of the Events API v2",
        "https://events.pagerduty.com/v2/enqueue",
        "Integration (routing) key",
        repeatable=True,
    ),
    NTFY: Kind("ntfy push", "Address of the topic", "https://ntfy.sh/your-topic", "Access token"),
}
PAGERDUTY_ADDRESS = KINDS[PAGERDUTY].example
"""Where a PagerDuty channel sends unless it says otherwise."""

ON_CALL, NEXT, EVERYONE, CONTACTS, LEADS, CHANNEL = "on-call", "next", "rotation", "contacts", "leads", "channel"
TARGETS: dict[str, str] = {
    ON_CALL: "Whoever is on call",
    NEXT: "Whoever is on call next",
    EVERYONE: "Everybody on the rotation",
    CONTACTS: "The owning team's e-mail contacts",
    LEADS: "The owning team's leads, or admins",
    CHANNEL: "A channel",
}

FIRING, ESCALATION, REMINDER, ACKNOWLEDGED, RESOLVED, TEST = "firing", "escalation", "reminder", "acknowledged", "resolved", "test"
WHATS: dict[str, str] = {
    FIRING: "Fired",
    ESCALATION: "Escalated",
    REMINDER: "Reminded",
    ACKNOWLEDGED: "Acknowledged",
    RESOLVED: "Over",
    TEST: "Test",
}
PAGES = (FIRING, ESCALATION, REMINDER)
"""What asks somebody to come."""

WAITING, SENDING, SENT, FAILED, UNKNOWN, DROPPED = "waiting", "sending", "sent", "failed", "unknown", "dropped"
STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status(WAITING, "Waiting", "info", "clock", hint="It is tried by itself, again and again for a while."),
        Status(SENDING, "Being sent", "info", "progress", hint="Somebody hands it over at this moment."),
        Status(SENT, "Delivered", "good", hint="The receiver took it."),
        Status(FAILED, "Not delivered", "bad", hint="The receiver refused it, or it was tried as often as allowed."),
        Status(UNKNOWN, "Unknown", "unknown", hint="The conversation broke off: nobody knows whether the receiver has it."),
        Status(DROPPED, "Not needed", "neutral", "dash", hint="It was over, or somebody had taken it, before it was told."),
    )
}

LEVELS = ("warning", "critical")
"""Severities, from the milder to the graver."""
