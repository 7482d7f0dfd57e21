"""The part of a route's form about resilience. A field that is left empty means the default, so that a form without it changes nothing.

Fields are named ``resilience_<setting>`` after ``apps.contracts.snapshot.Resilience``, durations without their ``_ms`` and in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django import forms
from django.forms.boundfield import BoundField

from apps.contracts.snapshot import BreakerPolicy, Mirror, Resilience, Target
from apps.routes.choices import MOST_PLACES, ON_OFF, RESILIENCE_CHOICES, Place
from apps.routes.resilience import LIMITS, MAX_CANNED, MAX_REGION, TargetSpec, resilience_facts, spec_of_target

DEFAULTS = Resilience()
PREFIX = "resilience_"


def seconds_text(ms: int) -> str:
    """Milliseconds as the seconds that a person would type: ``2``, ``0.25``."""
    return f"{ms / 1000:.3f}".rstrip("0").rstrip(".")


class Group(NamedTuple):
    """Fields that belong together, under one heading. ``text``: what they are for, in a sentence."""

    title: str
    text: str
    names: tuple[str, ...]


GROUPS = (
    Group(
        "Order of targets",
        "Which of several healthy targets is asked first.",
        ("strategy", "region", "sticky"),
    ),
    Group(
        "Deadlines and retries",
        "Beside the deadlines above.",
        ("first_token", "reasoning_first_byte", "retry_budget_percent"),
    ),
    Group(
        "Hedging and rescue",
        "A second attempt before the first has failed, and streams that go on after one broke off.",
        ("hedge_percent", "hedge_after", "rescue"),
    ),
    Group(
        "Caps and queue",
        "How much runs at once in each proxy process, and who waits.",
        ("max_concurrency", "queue_size", "queue"),
    ),
    Group(
        "Circuit breaker",
        "When a target that fails is left alone. A target in several routes has one breaker.",
        ("breaker_enabled", "breaker_consecutive", "breaker_failure_percent", "breaker_minimum", "breaker_window", "breaker_open"),
    ),
    Group(
        "Long requests and degradation",
        "What does not fit a model, and what is given up on purpose when too much fails.",
        ("context", "level", "limited_max_output", "canned"),
    ),
    Group(
        "Mirror",
        "Copies go to one more target; its answers are compared, never returned. They cost what they cost.",
        ("mirror_target", "mirror_model", "mirror_percent"),
    ),
)


def _number(path: str, label: str, help_text: str) -> forms.IntegerField:
    limit, default = LIMITS[path], resilience_facts(DEFAULTS).get(f"resilience.{path}", 100)
    return forms.IntegerField(
        required=False,
        label=label,
        min_value=limit.least,
        max_value=limit.most,
        initial=default,
        help_text=f"{help_text} Default {default:,}.",
    )


def _seconds(path: str, label: str, help_text: str) -> forms.DecimalField:
    limit, default = LIMITS[path], seconds_text(resilience_facts(DEFAULTS)[f"resilience.{path}"])
    return forms.DecimalField(
        required=False,
        label=label,
        min_value=limit.least / 1000,
        max_value=limit.most / 1000,
        decimal_places=3,
        initial=default,
        help_text=f"{help_text} In seconds; default {default}.",
    )


def _choice(name: str, label: str, help_text: str) -> forms.ChoiceField:
    return forms.ChoiceField(
        required=False, label=label, choices=RESILIENCE_CHOICES[name], initial=getattr(DEFAULTS, name), help_text=help_text
    )


class ResilienceForm(forms.Form):
    """How a route keeps answering."""

    resilience_strategy = _choice("strategy", "Strategy", "Among healthy targets of one priority.")
    resilience_region = forms.CharField(
        required=False, max_length=MAX_REGION, label="Home region", help_text="For “Nearest region”; as its endpoints name it."
    )
    resilience_sticky = _choice("sticky", "Sticky", "Keeps callers on one target of a weighted split.")
    resilience_first_token = _seconds("first_token_ms", "First token deadline", "Streams: until real output shows; 0: as the first byte.")
    resilience_reasoning_first_byte = _seconds("reasoning_first_byte_ms", "For reasoning targets", "Their first byte: they think first.")
    resilience_retry_budget_percent = _number(
        "retry_budget_percent",
        "Retry budget, %",
        "Attempts beyond the first, as a share of recent requests: no storm when a provider is down.",
    )
    resilience_hedge_percent = _number(
        "hedge_percent", "Hedged requests, %", "Share that may get a second attempt when the first is late; each costs. 0: none."
    )
    resilience_hedge_after = _seconds("hedge_after_ms", "Hedge after", "0: the target's own p95 to its first token.")
    resilience_rescue = _choice("rescue", "Rescue", "Where a stream that broke off is continued.")
    resilience_max_concurrency = _number("max_concurrency", "Requests at once", "Of this route, in one proxy process; 0: no cap.")
    resilience_queue_size = _number("queue_size", "Waiting at most", "Requests; keys of higher priority are served first.")
    resilience_queue = _seconds("queue_ms", "Waiting for at most", "Then 429 with Retry-After.")
    resilience_breaker_enabled = forms.ChoiceField(required=False, label="Breaker", choices=ON_OFF, initial="on")
    resilience_breaker_consecutive = _number("breaker.consecutive", "Failures in a row", "0: this rule is off.")
    resilience_breaker_failure_percent = _number("breaker.failure_percent", "Or share of failures, %", "0: this rule is off.")
    resilience_breaker_minimum = _number("breaker.minimum", "Of so many or more", "Before the share counts.")
    resilience_breaker_window = _seconds("breaker.window_ms", "Within", "How far back the share looks.")
    resilience_breaker_open = _seconds("breaker.open_ms", "Stays open for", "Doubled with each failed probe, to at most 60.")
    resilience_context = _choice(
        "context",
        "Too long requests",
        "Beyond a target's window: sent where one is larger, trimmed (oldest turns first), refused with the numbers.",
    )
    resilience_level = _choice("level", "Level", "Limited: no expensive targets, shorter answers. Cached, minimal: no provider is called.")
    resilience_limited_max_output = _number("limited_max_output", "Output cap when limited", "In tokens.")
    resilience_canned = forms.CharField(
        required=False,
        max_length=MAX_CANNED,
        label="Canned answer",
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Given when degraded to minimal, in one paragraph. Empty: a clear 503.",
    )
    resilience_mirror_target = forms.ChoiceField(required=False, label="Copies go to")
    resilience_mirror_model = forms.CharField(required=False, max_length=200, label="Model there")
    resilience_mirror_percent = _number("mirror.percent", "Share copied, %", "Of the requests.")

    def __init__(self, *args: Any, places: Sequence[Place], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if len(places) > MOST_PLACES:
            self.fields["resilience_mirror_target"] = forms.CharField(
                required=False, max_length=200, label="Copies go to", help_text="A provider, or provider/endpoint; empty: nowhere."
            )
            return
        known = [(place.value, place.label) for place in places]
        now = self.initial.get("resilience_mirror_target", "")
        gone = [(now, f"{now} (gone)")] if now and now not in dict(known) else []
        self.fields["resilience_mirror_target"].choices = [("", "Nowhere"), *known, *gone]  # type: ignore[attr-defined]

    def clean_resilience_canned(self) -> str:
        """One paragraph, however it was wrapped."""
        return " ".join(self.cleaned_data["resilience_canned"].split())

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if bool(values.get("resilience_mirror_target")) != bool(values.get("resilience_mirror_model", "").strip()):
            self.add_error("resilience_mirror_model", "A mirror takes both a provider and the model there; choose “Nowhere” for none.")
        return values

    def resilience(self) -> Resilience:
        """What was chosen."""
        settings = {name: self._value(name, f"{PREFIX}{name.removesuffix('_ms')}") for name in _PLAIN}
        breaker = {name: self._value(f"breaker.{name}", f"{PREFIX}breaker_{name.removesuffix('_ms')}") for name in _BREAKER}
        enabled = self.cleaned_data["resilience_breaker_enabled"] != "off"
        return Resilience(**settings, breaker=BreakerPolicy(enabled=enabled, **breaker), mirror=self._mirror())

    def _mirror(self) -> Mirror | None:
        provider, _, endpoint = self.cleaned_data["resilience_mirror_target"].partition("/")
        if not provider:
            return None
        percent = self.cleaned_data["resilience_mirror_percent"]
        target = Target(provider=provider, endpoint=endpoint, model=self.cleaned_data["resilience_mirror_model"].strip())
        return Mirror(target=target) if percent is None else Mirror(target=target, percent=percent)

    def _value(self, path: str, field: str) -> Any:
        value = self.cleaned_data[field]
        if value in (None, "") and field not in _MAY_BE_EMPTY:
            return resilience_facts(DEFAULTS)[f"resilience.{path}"]
        return int(value * 1000) if path.endswith("_ms") else value

    @property
    def resilience_groups(self) -> list[tuple[Group, list[BoundField]]]:
        """The fields by group, in order."""
        return [(group, [self[f"{PREFIX}{name}"] for name in group.names]) for group in GROUPS]

    @property
    def resilience_open(self) -> bool:
        """Whether the section is shown unfolded: something in it is wrong."""
        return any(name.startswith(PREFIX) for name in self.errors)

    @property
    def main_fields(self) -> list[BoundField]:
        """Every other field, in order."""
        return [field for field in self if not field.name.startswith(PREFIX)]


_PLAIN = tuple(name for name in Resilience.__struct_fields__ if name not in ("breaker", "mirror"))
_BREAKER = tuple(name for name in BreakerPolicy.__struct_fields__ if name != "enabled")
_MAY_BE_EMPTY = frozenset({"resilience_region", "resilience_sticky", "resilience_canned"})


def resilience_initial(settings: Resilience) -> dict[str, Any]:
    """The form's values of what is set."""
    found: dict[str, Any] = {}
    for path, value in resilience_facts(settings).items():
        name = path.removeprefix("resilience.").replace(".", "_")
        if name != "mirror":
            found[f"{PREFIX}{name.removesuffix('_ms')}"] = seconds_text(value) if name.endswith("_ms") else value
    found["resilience_breaker_enabled"] = "on" if settings.breaker.enabled else "off"
    if settings.mirror is not None:
        spec: TargetSpec = spec_of_target(settings.mirror.target)
        found["resilience_mirror_target"] = f"{spec.provider}/{spec.endpoint}" if spec.endpoint else spec.provider
        found["resilience_mirror_model"] = spec.model
        found["resilience_mirror_percent"] = settings.mirror.percent
    return found
