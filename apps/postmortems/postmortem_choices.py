"""Words of postmortems: states, the sections that a template begins with, triggers, ways of detection, the first vocabulary of factors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from apps.ui.status import Status

DRAFT, REVIEW, PUBLISHED = "draft", "review", "published"
STATES: dict[str, Status] = {
    status.value: status
    for status in (
        Status(DRAFT, "Draft", "warn", "edit", hint="It is being written."),
        Status(REVIEW, "In review", "info", "person", hint="It waits for somebody who did not write it to sign it off."),
        Status(PUBLISHED, "Published", "good", hint="Signed off; its text and its evidence stay as they are."),
    )
}
DUE: dict[str, Status] = {
    status.value: status
    for status in (
        Status("overdue", "Overdue", "bad", "clock"),
        Status("soon", "Due soon", "warn", "clock", hint="Due within two business days."),
        Status("later", "Due", "neutral", "clock"),
        Status("done", "In time", "good"),
        Status("late", "Late", "warn", hint="Published after it was due."),
    )
}

DUE_DAYS = 5
"""Business days after an incident was over, unless a template says otherwise."""
SOON_DAYS = 2
LEASE = timedelta(seconds=75)
"""How long somebody holds the editor after their last sign of life; the page gives one every 20 seconds."""
MOST_SECTIONS, MOST_TEXT = 30, 200_000
"""Sections of a template, and characters of one section."""

TRIGGERS = {
    "": "Not known yet",
    "provider": "A provider failed or changed",
    "deploy": "A deploy",
    "config": "A change of the configuration",
    "traffic": "Traffic: more, or other than usual",
    "client": "A client gone wild",
    "dependency": "A dependency below",
    "capacity": "Capacity used up",
    "expiry": "Something expired",
    "hardware": "Hardware or network",
    "drill": "A drill",
    "other": "Something else",
}
DETECTED = {
    "": "Not said yet",
    "alert": "An alert",
    "person": "One of us",
    "user": "A user",
    "provider": "The provider told us",
    "drill": "A drill",
}


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a template. key: never changes, texts are kept by it. required: a review cannot be asked for without it."""

    key: str
    title: str
    help: str = ""
    required: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return {"key": self.key, "title": self.title, "help": self.help, "required": self.required}


SECTIONS: tuple[Section, ...] = (
    Section("summary", "Summary", "What happened, to whom, for how long, and why: for somebody who reads nothing else.", True),
    Section("detection", "Detection", "How it was noticed. Could it have been noticed sooner, and by what?", True),
    Section("trigger", "Trigger", "What set it off at that moment.", True),
    Section("causes", "Contributing factors", "What made it possible and what made it worse. Systems and conditions, never persons.", True),
    Section("well", "What went well"),
    Section("badly", "What went badly"),
    Section("lucky", "Where we were lucky", "What would have made it worse, and did not happen by chance."),
    Section("resolution", "Resolution", "What ended it, and what was tried before.", True),
    Section("lessons", "Lessons", "What we know now that we did not know before."),
)
"""What a template has until somebody writes another."""


@dataclass(frozen=True, slots=True)
class FirstFactor:
    """A tag that every vocabulary begins with."""

    slug: str
    title: str
    help: str


FACTORS: tuple[FirstFactor, ...] = (
    FirstFactor("single-region", "Single region", "One region's end was the end of the service."),
    FirstFactor("single-provider", "Single provider", "There was no other provider to go to."),
    FirstFactor("untested-failover", "Untested failover", "A fallback was there and did not do what it should."),
    FirstFactor("missing-fallback", "Missing fallback", "There was no fallback, or none that could be reached in time."),
    FirstFactor("retry-storm", "Retry storm", "Retries multiplied what was wrong."),
    FirstFactor("missing-timeout", "Missing or long timeout", "Something was waited for too long."),
    FirstFactor("quota", "Quota or rate limit", "A provider's quota, or one of ours, was used up."),
    FirstFactor("capacity", "Capacity", "There was not enough of something."),
    FirstFactor("runaway-client", "Runaway client", "A client sent far more than it should, or could."),
    FirstFactor("config-change", "Change of configuration", "A change did what nobody foresaw."),
    FirstFactor("deploy", "Deploy", "A new version broke what worked."),
    FirstFactor("expired-credential", "Expired credential", "A key, a certificate or a contract ran out."),
    FirstFactor("dependency", "Dependency", "Something below failed: database, queue, network."),
    FirstFactor("missing-alert", "Missing alert", "Nothing told anybody."),
    FirstFactor("late-detection", "Late detection", "It was noticed long after it began."),
    FirstFactor("noisy-alerts", "Noisy alerts", "What mattered was lost among what did not."),
    FirstFactor("missing-runbook", "Missing or old runbook", "Nobody had written down what to do, or it was no longer true."),
    FirstFactor("unclear-ownership", "Unclear ownership", "Nobody knew whose it was."),
)
