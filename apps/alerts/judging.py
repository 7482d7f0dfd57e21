"""From rules to judgements: what each rule says of each of its subjects in one minute. Reads only."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import md5
from typing import Any

from django.db import transaction

from apps.alerts.choices import EVERYTHING, TIMES_BASELINE, WARNING
from apps.alerts.models import AlertRule
from apps.alerts.rules import UNMEASURED, Judgement, Terms, level_of
from apps.alerts.series import SERIES, Sample, Series, Source
from apps.alerts.sources import SOURCES
from apps.alerts.sources.look import Look, Read
from controlplane.away import database_away

log = logging.getLogger("bulkhead.alerts")

MISSING_FOR_S = 600
"""Missing data must be missing for at least so long before anybody is told."""
MISSING = "missing"
"""Key of evidence: the alert is that nothing is measured; says why."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One rule's word on one subject in one minute."""

    rule: AlertRule
    subject: str
    fingerprint: str
    judgement: Judgement
    terms: Terms
    evidence: Mapping[str, Any] = field(default_factory=dict)


def fingerprint_of(rule: AlertRule, subject: str, *, missing: bool = False) -> str:
    """The same for every episode of a rule and subject; that nothing is measured of it is a thing of its own."""
    text = "\x1f".join((str(rule.pk), rule.by, subject, MISSING if missing else ""))
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def rules_judge(
    look: Look, rules: Sequence[AlertRule], *, sources: Mapping[Source, Read] = SOURCES
) -> tuple[dict[str, Judged], dict[Source, str]]:
    """Every judgement by fingerprint, and the sources that could not be read with the reason; the others are judged all the same.

    Raises where the database is away: then nothing can be judged.
    """
    found: dict[str, Judged] = {}
    unread: dict[Source, str] = {}
    for name, read in sources.items():
        group = [rule for rule in rules if rule.series in SERIES and SERIES[rule.series].source == name]
        if not group:
            continue
        try:
            with transaction.atomic():
                read_now = read(look, group)
        except Exception as error:
            if database_away(error):
                raise
            log.exception("alerts of organisation %s: the source %r could not be read", look.organisation.slug, name)
            unread[name] = f"{type(error).__name__}: {error}"
            continue
        for rule in group:
            for judged in _judged(rule, read_now.get(rule.pk, {}), look):
                found[judged.fingerprint] = judged
    return found, unread


def _judged(rule: AlertRule, samples: Mapping[str, Sample], look: Look) -> Iterable[Judged]:
    series = SERIES[rule.series]
    terms = Terms(rule.for_s, rule.hold_s)
    start = look.at - timedelta(seconds=rule.window_s)
    for subject, sample in samples.items():
        judgement = judge(rule, series, sample)
        evidence = {
            "series": series.name,
            "samples": sample.samples,
            "samples_of": series.samples_of,
            "from": start.isoformat(),
            "to": look.at.isoformat(),
            **sample.evidence,
        }
        yield Judged(rule, subject, fingerprint_of(rule, subject), judgement, terms, evidence)
        if rule.on_missing == "alert":
            # what is measured again is clear; what is missing and not expected any more is clear, too
            gone = sample.value is None and sample.expected
            missing = Judgement(WARNING if gone else "", True)
            longer = Terms(max(rule.for_s, MISSING_FOR_S), rule.hold_s)
            said = {**evidence, MISSING: sample.missing or "it is measured again"}
            yield Judged(rule, subject, fingerprint_of(rule, subject, missing=True), missing, longer, said)


def judge(rule: AlertRule, series: Series, sample: Sample) -> Judgement:
    """What a rule says of a sample: nothing, where too little was measured."""
    if sample.level is not None:
        return Judgement(sample.level, True, sample.value, sample.threshold)
    if sample.value is None or sample.missing or sample.samples < rule.min_samples:
        return UNMEASURED
    found = level_of(sample.value, comparison=rule.comparison, warn=rule.warn, critical=rule.critical, baseline=sample.baseline)
    if not found.level:
        return found
    if sample.bad < series.least_bad:
        return Judgement("", True, found.value, found.threshold)  # a share of few is high by one alone
    if rule.comparison == TIMES_BASELINE and sample.value - (sample.baseline or 0) < series.least_rise:
        return Judgement("", True, found.value, found.threshold)
    return found


def looks_elsewhere(rule: AlertRule, by: str, subject: str) -> bool:
    """Whether a rule does not look at a subject any more, because somebody changed it."""
    if rule.by != by:
        return True
    return bool(rule.values) and subject not in rule.values and subject != EVERYTHING
