"""Pure checks of what a person may ask of a rule, an SLO or a silence. Every refusal says what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from apps.alerts import choices
from apps.alerts.series import Series, comparisons_of, threshold_read
from apps.audit.errors import ServiceError

MOST_VALUES = 50
"""Subjects that a rule names at most."""
MOST_LABELS = 20
MOST_FOR_S = 86_400
MOST_SILENCE = timedelta(days=90)
MOST_THRESHOLD_MS = 3_600_000
MATCHED = ("rule", "subject", "severity", "labels")
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_DURATION = re.compile(r"([0-9]{1,6})\s?(s|m|min|h|d)?")
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def check_name(name: object, what: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name.strip()) or len(name.strip()) > 60:
        raise ServiceError(f"{what} needs a short name of small letters, digits and hyphens, at most 60, such as chat-errors", "name")
    return name.strip()


def check_title(title: object, what: str) -> str:
    text = title.strip() if isinstance(title, str) else ""
    if not text or len(text) > 200 or not text.isprintable():
        raise ServiceError(f"{what} needs a title of at most 200 characters without line breaks, such as 'Chat fails'", "title")
    return text


def check_scope(series: Series, by: object, values: Iterable[object]) -> dict[str, object]:
    """``AlertRule.scope``. Raises ServiceError."""
    if by not in series.scopes:
        allowed = ", ".join(choices.SCOPES[scope] for scope in series.scopes)
        raise ServiceError(f"{series.label!r} is not known for {str(by)[:40]!r}: choose one of {allowed}", "by")
    named = list(dict.fromkeys(str(value).strip() for value in values if str(value).strip()))
    if named and not by:
        raise ServiceError("a rule on everything names nothing: leave the names away, or choose what they are names of", "values")
    if len(named) > MOST_VALUES:
        raise ServiceError(f"a rule names at most {MOST_VALUES}: leave the names away to look at all of them", "values")
    if any(len(value) > 300 or not value.isprintable() for value in named):
        raise ServiceError("a name has at most 300 characters, and no line breaks", "values")
    return {"by": str(by), "values": named} if named else {"by": str(by)}


def check_thresholds(series: Series, comparison: object, warn: object, critical: object) -> tuple[str, float | None, float | None]:
    """(comparison, warn, critical) in the series' unit. Raises ServiceError."""
    if comparison not in comparisons_of(series):
        allowed = ", ".join(comparisons_of(series))
        raise ServiceError(f"{series.label!r} cannot be compared by {str(comparison)[:40]!r}: choose one of {allowed}", "comparison")
    how = str(comparison)
    low = threshold_read(series, how, warn, field="warn")
    high = threshold_read(series, how, critical, field="critical")
    if low is None and high is None:
        raise ServiceError("write at which value to warn, at which it is critical, or both", "warn")
    if low is not None and high is not None and (high <= low if how != choices.BELOW else high >= low):
        side = "below" if how == choices.BELOW else "above"
        raise ServiceError(f"what is critical must lie {side} what is a warning: change one of the two", "critical")
    return how, low, high


def check_window(window_s: object) -> int:
    found = seconds_read(window_s, "window_s")
    if found not in choices.WINDOWS:
        raise ServiceError(f"a rule looks back over one of {', '.join(choices.WINDOWS.values())}: choose one", "window_s")
    return found


def check_lasting(value: object, field: str) -> int:
    """``for_s`` or ``hold_s``: from nothing to a day, in whole minutes, because rules are looked at once a minute."""
    found = seconds_read(value, field)
    if not 0 <= found <= MOST_FOR_S or found % 60:
        raise ServiceError("write whole minutes from 0 to 1440 with their unit, such as 5m: rules are looked at once a minute", field)
    return found


def seconds_read(value: object, field: str) -> int:
    """Seconds, or a text such as ``5m``. Raises ServiceError."""
    match = _DURATION.fullmatch(str(value).strip().lower()) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    if match is None:
        raise ServiceError(f"{str(value)[:40]!r} is no length of time: write it with its unit, such as 5m, 300s or 1h", field)
    return int(match[1]) * _SECONDS[match[2] or ""]


def check_samples(value: object, field: str = "min_samples") -> int:
    text = "" if isinstance(value, bool) else str(value).strip()
    if not text.isascii() or not text.isdigit() or int(text) > 1_000_000:
        raise ServiceError(f"{text[:40]!r}: write a whole number from 0 to 1000000: with fewer measurements nothing is said", field)
    return int(text)


def check_opens_incident(written: str) -> str:
    """A key of ``choices.INCIDENTS``. Raises ServiceError."""
    found = written.strip().casefold()
    if found not in choices.INCIDENTS:
        known = ", ".join(value for value in choices.INCIDENTS if value)
        raise ServiceError(f"{written[:30]!r} is no severity of an incident: one of {known}, or empty for none", "opens_incident")
    return found


def check_on_missing(value: object) -> str:
    if value not in choices.ON_MISSING:
        raise ServiceError(f"choose what missing data means: one of {', '.join(choices.ON_MISSING)}", "on_missing")
    return str(value)


def check_labels(labels: object) -> dict[str, str]:
    if not isinstance(labels, Mapping) or len(labels) > MOST_LABELS:
        raise ServiceError(f"labels are at most {MOST_LABELS} pairs of a name and a text, such as layer: provider", "labels")
    found = {}
    for name, value in labels.items():
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) or not isinstance(value, str) or len(value) > 200:
            raise ServiceError(
                f"{str(name)[:40]!r} is no label: a name of small letters, digits and underscores, and a text of at most 200 characters",
                "labels",
            )
        found[name] = value
    return found


def check_runbook(reference: object) -> str:
    """An address, or the id or short name of a runbook; whether there is one, pages show. Raises ServiceError."""
    text = str(reference or "").strip()
    if len(text) > 300 or not text.isprintable() or (" " in text):
        raise ServiceError("a runbook is named by its short name or by an address, such as https://wiki.example.com/chat", "runbook")
    if "://" in text and urlsplit(text).scheme not in ("http", "https"):
        raise ServiceError("a runbook's address begins with https:// or http://", "runbook")
    return text


def check_note(note: object, *, needed: bool = False, field: str = "note") -> str:
    text = str(note or "").strip()
    if needed and not text:
        raise ServiceError("say why: whoever comes after you will ask", field)
    if len(text) > 2000:
        raise ServiceError("at most 2000 characters, please: the rest belongs into the incident", field)
    return text


def check_until(until: object, *, now: datetime, field: str = "until") -> datetime:
    if not isinstance(until, datetime) or until.tzinfo is None:
        raise ServiceError("say until when, as a moment with its time zone, such as 2026-01-31T18:00:00Z", field)
    if until <= now:
        raise ServiceError("that moment is over: choose a later one", field)
    if until - now > MOST_SILENCE:
        raise ServiceError(f"at most {MOST_SILENCE.days} days ahead: switch the rule off if nobody is ever to be told", field)
    return until


def check_matcher(matcher: object) -> dict[str, object]:
    """``Silence.matcher`` with what it says. Raises ServiceError."""
    if not isinstance(matcher, Mapping) or set(matcher) - set(MATCHED):
        raise ServiceError(f"a silence names alerts by {', '.join(MATCHED)}, and by nothing else", "matcher")
    found: dict[str, object] = {}
    for name in ("rule", "subject", "severity"):
        value = matcher.get(name, "")
        if not isinstance(value, str) or len(value) > 300:
            raise ServiceError(f"{name} is a text of at most 300 characters", "matcher")
        if value.strip():
            found[name] = value.strip()
    if found.get("severity", choices.WARNING) not in choices.SEVERITIES:
        raise ServiceError(f"a severity is one of {', '.join(choices.SEVERITIES)}", "matcher")
    if labels := check_labels(matcher.get("labels") or {}):
        found["labels"] = labels
    if not found:
        raise ServiceError("say which alerts: their rule, subject, severity or labels; a silence of everything hides everything", "matcher")
    return found


# --- SLOs -----------------------------------------------------------------------------------------------------------


def objective_read(text: object) -> int:
    """A percentage such as ``99.9`` or ``99.9%``, in 1/100,000. Raises ServiceError."""
    shown = "" if isinstance(text, bool) else str(text).strip().removesuffix("%").strip()
    try:
        exact = Decimal(shown) * 1000 if re.fullmatch(r"[0-9]{1,2}(?:\.[0-9]{1,3})?", shown) else Decimal(0)
    except InvalidOperation:
        exact = Decimal(0)
    if not 1 <= exact < 100_000 or exact != int(exact):
        raise ServiceError(
            f"{str(text)[:40]!r}: write a percentage below 100 with at most three decimals, such as 99.9; 100 leaves no error budget",
            "objective",
        )
    return int(exact)


def check_indicator(indicator: object, threshold_ms: object) -> tuple[str, int | None]:
    """(indicator, threshold in milliseconds). Raises ServiceError."""
    if indicator not in choices.INDICATORS:
        raise ServiceError(f"choose what is promised: one of {', '.join(choices.INDICATORS)}", "indicator")
    if indicator == choices.AVAILABILITY:
        if threshold_ms not in (None, "", 0):
            raise ServiceError("availability has no bound in milliseconds: leave it away, or promise a latency", "threshold_ms")
        return choices.AVAILABILITY, None
    text = "" if isinstance(threshold_ms, bool) else str(threshold_ms or "").strip()
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_THRESHOLD_MS:
        raise ServiceError(f"write the bound in whole milliseconds from 1 to {MOST_THRESHOLD_MS}, such as 800", "threshold_ms")
    return str(indicator), int(text)


def check_slo_scope(by: object, subject: object) -> tuple[str, str]:
    """(by, subject) of an SLO. Raises ServiceError."""
    if by not in choices.SLO_SCOPES:
        raise ServiceError(f"choose whose requests: one of {', '.join(filter(None, choices.SLO_SCOPES))}, or nothing for all", "by")
    text = str(subject or "").strip()
    if bool(by) != bool(text) or len(text) > 300 or not text.isprintable():
        raise ServiceError(f"name the {by} that is promised for" if by else "all requests have no name: leave it away", "subject")
    return str(by), text


def check_days(days: object) -> int:
    text = "" if isinstance(days, bool) else str(days).strip()
    if not text.isascii() or not text.isdigit() or int(text) not in choices.SLO_WINDOWS:
        raise ServiceError(f"an SLO holds over one of {', '.join(choices.SLO_WINDOWS.values())}: choose one", "window_days")
    return int(text)
