"""Words of ownership: contacts, rotations, the layers that most installations begin with."""

from __future__ import annotations

from apps.ui.status import Status

CONTACT_KINDS = {"email": "E-mail", "chat": "Chat", "phone": "Phone", "url": "Link"}

ONCALL, CHAOS = "on-call", "chaos-lead"
ROTATION_KINDS = {ONCALL: "On call", CHAOS: "Chaos lead"}

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DAY_WORDS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""As documents and the API write weekdays."""

EVERY = {1: "every day", 7: "every week", 14: "every two weeks", 28: "every four weeks"}

LAYERS: tuple[tuple[str, str, str], ...] = (
    ("application", "Application", "Features and services that call the proxy."),
    ("proxy", "Proxy", "Routes, keys, limits, flags: what decides about a request."),
    ("provider", "Provider", "Upstreams, their endpoints and credentials."),
    ("serving", "Serving", "Engines and GPU workers of your own."),
    ("data", "Data", "PostgreSQL, Redis, journals."),
)
"""Slug, title, help of the layers offered where an organisation has none yet; each may be renamed or removed."""

OWNED = Status("owned", "Owned", "good")
UNOWNED = Status("unowned", "Nobody", "warn", hint="Nobody answers for this: give it to a team.")
ON = Status("on", "On call", "good")
GAP = Status("gap", "Nobody on", "bad", hint="This hour is covered by the rotation, and nobody is there.")
RESTING = Status("resting", "Not covered", "neutral", "dash", hint="Outside the hours that the rotation covers.")
REVIEWED = Status("reviewed", "Reviewed", "good")
OVERDUE = Status("overdue", "Review overdue", "warn")
UNREVIEWED = Status("unreviewed", "Never reviewed", "warn")
