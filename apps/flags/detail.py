"""Everything a flag's page shows, gathered: each property is one query at most, made when first needed and never twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit

from django.db.models import QuerySet, Sum
from django.urls import NoReverseMatch, reverse

from apps.accounts.scope import Choice
from apps.audit.models import AuditEvent
from apps.audit.selectors import audit_events
from apps.contracts.snapshot import FlagFragment, FlagKind, FlagSubject, Level
from apps.flags.afterwards import Line, Outcome
from apps.flags.change_choices import OPEN_STATES, WAITING
from apps.flags.consequences import Prediction
from apps.flags.flip_events import flips_read, recent_flips
from apps.flags.flips import ends_at, flips_of, lines_of, outcome_now, prediction_of
from apps.flags.measuring import FOLLOWED, Flip, Question
from apps.flags.models import ChangeRequest, Flag, FlagExposure, FlagFlip
from apps.flags.overrides import what_it_does, with_last_flip
from apps.flags.selectors import flags_of
from apps.flags.tables import marks_of, status_of
from apps.flags.words import Rule, rules_words, rules_yaml, variants_words
from apps.publishing.state import ConfigState, head_state
from apps.ui.status import Status

TABS = (("now", "Flag"), ("flips", "Flips"), ("history", "History"))
EVENTS = 30
HOUR = timedelta(hours=1)
_LINKS = {"route": "routes:detail", "provider": "providers:detail", "key": "keys:detail"}


@dataclass(frozen=True, slots=True)
class Followed:
    """A flip with what was predicted, what came of it by now, and whether it is still watched. left: seconds of the watch."""

    flip: FlagFlip
    prediction: Prediction
    outcome: Outcome | None
    lines: list[Line]
    left: float

    @property
    def open(self) -> bool:
        return self.left > 0


def flag_rows(choice: Choice, now: datetime) -> QuerySet[Flag]:
    """The organisation's flags with their last flips and those of the last hour, in one query."""
    return with_last_flip(flags_of(choice.organisation)).annotate(recent=recent_flips(now)).select_related("owner", "organisation")


def followed(flip: FlagFlip, now: datetime) -> Followed:
    """A flip beside its measured figures: one query while it is watched."""
    outcome = outcome_now(flip, now=now)
    left = (ends_at(flip) - now).total_seconds()
    return Followed(flip, prediction_of(flip), outcome, lines_of(flip, outcome), left)


class FlagDetail:
    """One flag as its pages show it. heard: the details of all proxies' last heartbeats. state: the published config, where it is known."""

    def __init__(self, choice: Choice, flag: Flag, *, heard: Sequence[Mapping[str, Any]] = (), state: ConfigState | None = None) -> None:
        self.choice, self.flag, self._heard, self._state = choice, flag, heard, state
        self.now = datetime.now(UTC)

    @property
    def url(self) -> str:
        return reverse("flags:detail", args=[self.flag.name])

    @property
    def on(self) -> bool:
        """Whether it is in force now."""
        return self.flag.in_force(self.now)

    @property
    def status(self) -> Status:
        return status_of(self.flag, self.now)

    @property
    def marks(self) -> list[Status]:
        return marks_of(self.flag, self.now)

    @cached_property
    def state(self) -> ConfigState:
        return self._state or head_state()

    @cached_property
    def _published(self) -> dict[str, Any]:
        return {name: self.state.fragments[name] for name in ("routes", "providers", "keys")}

    @cached_property
    def subject(self) -> str:
        """The name of what it is about; its id where the config does not know it."""
        if self.flag.subject_kind == "organisation":
            return self.flag.organisation.name
        for section in self._published.values():
            if self.flag.subject_id in section:
                return str(section[self.flag.subject_id].name)
        return self.flag.subject_id

    @property
    def subject_url(self) -> str:
        """Its page, where it has one."""
        name = _LINKS.get(self.flag.subject_kind)
        try:
            return reverse(name, args=[self.flag.subject_id]) if name else ""
        except NoReverseMatch:
            return ""

    @property
    def does(self) -> str:
        return what_it_does(self.flag, self.subject)

    @property
    def thing(self) -> str:
        """What is switched, as the object of a verb: ``fallback of route support``."""
        kind = self.flag.get_kind_display().lower()
        if self.flag.kind == "release":
            return f"{kind} {self.flag.name}"
        whole = self.flag.subject_kind == "organisation"
        about = "the whole organisation" if whole else f"{self.flag.get_subject_kind_display().lower()} {self.subject}"
        return f"{kind} to {self.flag.level} of {about}" if self.flag.kind == "degrade" else f"{kind} of {about}"

    @property
    def without_fallback(self) -> bool:
        """A fallback of a route that has no other chain: it changes nothing."""
        route = self._published["routes"].get(self.flag.subject_id) if self.flag.kind == "fallback" else None
        return route is not None and not route.fallback

    @property
    def verb(self) -> str:
        return "Turn off" if self.on else "Turn on"

    @property
    def part(self) -> str:
        """For which requests it is on, where it is not for all."""
        if self.flag.simulated_only:
            return "for the simulator's requests only"
        return f"for {self.flag.share}% of its requests" if self.flag.share != 100 else ""

    @property
    def runbook_url(self) -> str:
        """Its address, or the page of one of ours where there is one."""
        if not self.flag.runbook or urlsplit(self.flag.runbook).scheme in ("http", "https"):
            return self.flag.runbook
        try:
            return reverse("ownership:runbook", args=[self.flag.runbook])
        except NoReverseMatch:
            return ""

    @property
    def rules(self) -> list[Rule]:
        return rules_words(self.flag.rules)

    @property
    def variants(self) -> list[tuple[str, str]]:
        return variants_words(self.flag.rules)

    @property
    def yaml(self) -> str:
        return rules_yaml(self.flag.rules)

    @cached_property
    def exposures(self) -> list[tuple[str, int]]:
        """What it said in the last hour and how often, the most first."""
        rows = FlagExposure.objects.filter(flag=self.flag, minute__gte=self.now - HOUR).values_list("value")
        return [(value, int(count)) for value, count in rows.annotate(times=Sum("count")).order_by("-times")[:10]]

    @cached_property
    def flips(self) -> list[FlagFlip]:
        """The newest first."""
        return flips_of(self.choice.organisation, flag=self.flag)

    @cached_property
    def watched(self) -> Followed | None:
        """The last flip, while it is watched."""
        newest = self.flips[0] if self.flips else None
        return followed(newest, self.now) if newest is not None and self.now - newest.at < 2 * FOLLOWED else None

    @cached_property
    def compared(self) -> list[Followed]:
        """Flips whose figures are kept, the newest first: nothing is asked for them."""
        return [followed(flip, self.now) for flip in self.flips if flip.measured is not None]

    @cached_property
    def requests_open(self) -> list[ChangeRequest]:
        """Requests for this flag that wait for somebody or for their time."""
        return list(ChangeRequest.objects.filter(flag=self.flag, state__in=OPEN_STATES).order_by("-asked_at")[:5])

    @property
    def waiting(self) -> bool:
        return any(one.state == WAITING for one in self.requests_open)

    @cached_property
    def events(self) -> list[AuditEvent]:
        return list(audit_events(subject_kind="flag", subject_id=self.flag.pk)[:EVENTS])

    # --- flipping ---------------------------------------------------------------------------------------------------

    def question(self, *, on: bool, share: int = 100, simulated_only: bool = False) -> Question:
        """What would come of a flip."""
        flip = Flip(fragment_of(self.flag), on, share, simulated_only)
        recent = getattr(self.flag, "recent", None)
        return Question(
            organisation=self.choice.organisation,
            scope=self.choice.scope,
            flip=flip,
            heard=self._heard,
            now=self.now,
            state=self.state,
            flips=None if recent is None else flips_read(recent),
            flipped_at=getattr(self.flag, "flipped_at", None),
        )


def fragment_of(flag: Flag) -> FlagFragment:
    """A flag as it would be published now."""
    return FlagFragment(
        id=str(flag.pk),
        name=flag.name,
        organisation=str(flag.organisation_id),
        kind=cast(FlagKind, flag.kind),
        subject=cast(FlagSubject, flag.subject_kind),
        subject_id=flag.subject_id,
        on=flag.on,
        level=cast(Level, flag.level),
        rules=flag.rules,
        default=flag.default,
        share=flag.share,
        simulated_only=flag.simulated_only,
        until_ms=None if flag.until is None else int(flag.until.timestamp() * 1000),
    )
