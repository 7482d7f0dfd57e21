"""Kinds of flags, what each can act on, and how far a degradation goes."""

from __future__ import annotations

FALLBACK, KILL, DEGRADE, RELEASE = "fallback", "kill", "degrade", "release"
KINDS = [(FALLBACK, "Fallback"), (KILL, "Kill switch"), (DEGRADE, "Degradation"), (RELEASE, "Release")]
SWITCHES = (FALLBACK, KILL, DEGRADE)
"""Kinds that proxies act on; a release is for apps to ask about."""

SUBJECTS = [
    ("provider", "Provider"),
    ("model", "Model"),
    ("route", "Route"),
    ("key", "Key"),
    ("feature", "Feature"),
    ("team", "Team"),
    ("region", "Region"),
    ("organisation", "Organisation"),
]
SUBJECTS_OF: dict[str, tuple[str, ...]] = {
    FALLBACK: ("route",),
    KILL: ("provider", "model", "route", "key", "feature"),
    DEGRADE: ("organisation", "region", "route", "team"),
    RELEASE: ("organisation",),
}
"""By kind: what a flag of it can be about."""
BY_ID = ("provider", "route", "key", "organisation")
"""Subjects named by the id of an object; the others are named as requests name them: model, feature, slug of the team, region."""

LEVELS = [("full", "Full"), ("limited", "Limited"), ("cached", "Cached"), ("minimal", "Minimal")]
"""How far a degradation goes, mildest first."""

FLIP_EVENT = "flag.flip"
"""Kind of the event that records a flag going on or off."""
OVERRIDE_EVENT = "flag.override"
"""Kind of the event that records an override made on a proxy's host, once the control plane learns of it."""
