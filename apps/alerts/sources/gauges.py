"""Series that machines measure of themselves: queues, waits, lag, breakers (``apps.usage.gauges``); means over the window."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from apps.alerts.choices import OTHER
from apps.alerts.series import SERIES, Sample
from apps.alerts.sources.look import Look, Samples
from apps.usage.gauge_means import GaugeMeans, gauge_means
from apps.usage.gauges import GAUGES
from apps.usage.gauges import OTHER as FOLDED

if TYPE_CHECKING:
    from apps.alerts.models import AlertRule

KNOWN = timedelta(days=1)
"""A gauge that was sampled within this time should be sampled now."""
_PREFIX = {"route": "route:", "provider": "target:", "proxy": "proxy:"}


def read(look: Look, rules: Sequence[AlertRule]) -> Samples:
    """``look.Read``: two queries for each length that rules look back over."""
    groups: dict[int, list[AlertRule]] = {}
    for rule in rules:
        groups.setdefault(rule.window_s, []).append(rule)
    found: Samples = {}
    for window_s, group in groups.items():
        means = gauge_means(
            names=sorted({rule.series for rule in group}),
            organisation=look.scope.organisation,
            since=look.at - timedelta(seconds=window_s),
            until=look.at,
            known_since=look.at - KNOWN,
        )
        for rule in group:
            found[rule.pk] = _samples(rule, look, means)
    return found


def _samples(rule: AlertRule, look: Look, means: GaugeMeans) -> dict[str, Sample]:
    of = "" if SERIES[rule.series].installation else look.scope.organisation
    minutes = means.minutes.get(rule.series, 0)
    values = _by_subject(rule, means, of)
    subjects = rule.values or ([""] if not rule.by else [*values, *look.kept.get(rule.pk, ())])
    if not minutes:
        nothing = Sample(None, missing="it was not sampled in the window", expected=rule.series in means.known)
        return dict.fromkeys(subjects, nothing)
    return {subject: Sample(values.get(subject, 0.0), minutes, evidence={"minutes": minutes}) for subject in subjects}


def _by_subject(rule: AlertRule, means: GaugeMeans, of: str) -> dict[str, float]:
    """Of the gauge's own subjects those that the rule tells apart: a provider's is that of all its targets."""
    found: dict[str, float] = {}
    added = GAUGES[rule.series].added
    for (name, organisation, subject), value in means.means.items():
        if name != rule.series or organisation != of:
            continue
        if not rule.by:
            if not subject:
                found[""] = value
            continue
        told = _told(rule.by, subject)
        if told:
            found[told] = found.get(told, 0.0) + value if added else max(found.get(told, 0.0), value)
    return found


def _told(by: str, subject: str) -> str:
    if subject == FOLDED:
        return OTHER
    if by == "queue":
        return subject
    prefix = _PREFIX.get(by, "")
    if subject.startswith(prefix):
        rest = subject.removeprefix(prefix)
        return rest.split("/", 1)[0] if by == "provider" else rest
    if by == "provider" and ":" not in subject:  # targets by themselves, as breakers are told
        return subject.split("/", 1)[0]
    return ""
