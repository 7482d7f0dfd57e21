"""Pure checks and decisions of performance budgets. Every refusal says what to write instead; forms, API and YAML show the same text.

Values are whole numbers in the metric's unit: microseconds, millionths (of all requests), nano-dollars, thousandths of an hour.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from apps.audit.errors import ServiceError
from apps.budgets import performance_choices as choices
from apps.contracts.money import NANO, MoneyError, ceil_div, dollars_read, dollars_text, percent_read
from apps.ui import format as formatting

HOUR_US = 3_600_000_000
WHOLE = 1_000_000
"""All requests, in the unit of shares."""
MOST_NANO = 1_000_000 * NANO
MOST_HOURS = 10_000_000
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s?(ms|s|m|h)")
_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": HOUR_US}
_HOURS = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)\s?h?")


# --- what a person writes ------------------------------------------------------------------------------------------------


def check_name(name: object) -> str:
    """The name without surrounding blanks."""
    if not isinstance(name, str) or not name.strip():
        raise ServiceError("a performance budget needs a name, such as 'chat answers fast'", "name")
    name = name.strip()
    if len(name) > 80 or not name.isprintable():
        raise ServiceError("a performance budget's name has at most 80 characters and no control characters or line breaks", "name")
    return name


def check_metric(metric: object) -> str:
    return _one_of(metric, choices.METRICS, "what a performance budget can bound", "metric")


def check_window(window: object) -> str:
    return _one_of(window, choices.WINDOWS, "a window of performance budgets", "window")


def check_scope(scope: object) -> str:
    return _one_of(scope, choices.SCOPES, "what a performance budget can be for", "scope")


def _one_of(value: object, known: dict[str, object] | object, what: str, field: str) -> str:
    names = list(known)  # type: ignore[call-overload]
    if not isinstance(value, str) or value not in names:
        raise ServiceError(f"{str(value)[:60]!r} is not {what}: choose one of {', '.join(names)}", field)
    return value


def bound_read(metric: str, text: object) -> int:
    """The bound that a person wrote, in the metric's unit. Raises ServiceError."""
    shown = str(text).strip() if isinstance(text, (str, int)) and not isinstance(text, bool) else repr(text)
    unit = choices.METRICS[metric].unit
    read = {"duration": _duration_read, "share": _share_read, "dollars": _dollars_read, "hours": _hours_read}[unit]
    return read(shown)


def _duration_read(text: str) -> int:
    match = _DURATION.fullmatch(text)
    exact = Decimal(match[1]) * _US[match[2]] if match else Decimal(-1)
    if not 1 <= exact <= HOUR_US or exact != int(exact):
        raise ServiceError(f"{text[:40]!r}: write a duration above zero and at most 1h with its unit, such as 800ms or 1.5s", "bound")
    return int(exact)


def _share_read(text: str) -> int:
    try:
        share = percent_read(text)
    except MoneyError:
        share = 0
    if not 0 < share < 10_000:
        raise ServiceError(f"{text[:40]!r}: write a percentage above 0 and below 100 with at most two decimals, such as 1%", "bound")
    return share * (WHOLE // 10_000)


def _dollars_read(text: str) -> int:
    try:
        nano = dollars_read(text.removeprefix("$"))
    except MoneyError as error:
        raise ServiceError(str(error), "bound") from None
    if not 0 < nano <= MOST_NANO:
        raise ServiceError(f"{text[:40]!r}: write dollars above zero and at most {MOST_NANO // NANO}, such as 0.02", "bound")
    return nano


def _hours_read(text: str) -> int:
    match = _HOURS.fullmatch(text)
    thousandths = int(Decimal(match[1]) * 1000) if match else 0
    if not 0 < thousandths <= MOST_HOURS * 1000:
        raise ServiceError(f"{text[:40]!r}: write hours above zero and at most {MOST_HOURS} in plain digits, such as 120 or 7.5", "bound")
    return thousandths


def warn_read(text: object) -> int:
    """Percent of the bound, ``80`` or ``80%``. Raises ServiceError."""
    digits = str(text).strip().removesuffix("%").strip() if not isinstance(text, bool) else ""
    if not re.fullmatch(r"[0-9]{1,3}", digits) or not 1 <= int(digits) <= 100:
        raise ServiceError(f"{str(text)[:40]!r}: write a whole percentage of the bound from 1 to 100, such as 80", "warn_percent")
    return int(digits)


def samples_read(text: object) -> int:
    """How many measurements a verdict takes. Raises ServiceError."""
    digits = str(text).strip() if not isinstance(text, bool) else ""
    if not re.fullmatch(r"[0-9]{1,9}", digits) or not choices.LEAST_SAMPLES <= int(digits) <= choices.MOST_SAMPLES:
        raise ServiceError(
            f"{str(text)[:40]!r}: write a whole number of measurements from {choices.LEAST_SAMPLES} to {choices.MOST_SAMPLES}, digits "
            "only: a few say nothing about a p95",
            "min_samples",
        )
    return int(digits)


def bound_written(metric: str, bound: int) -> str:
    """As ``bound_read`` takes it."""
    unit = choices.METRICS[metric].unit
    if unit == "duration":
        return f"{bound // 1_000_000}s" if bound % 1_000_000 == 0 else f"{_plain(Decimal(bound) / 1_000)}ms"
    if unit == "share":
        return f"{_plain(Decimal(bound) / 10_000)}%"
    return dollars_text(bound) if unit == "dollars" else _plain(Decimal(bound) / 1_000)


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def value_text(metric: str, value: int | None) -> str:
    """A measured value or a bound for people."""
    if value is None:
        return formatting.NOTHING
    unit = choices.METRICS[metric].unit
    if unit == "duration":
        return formatting.duration(value)
    if unit == "share":
        return formatting.percent(value, WHOLE)
    return formatting.dollars(value) if unit == "dollars" else f"{value / 1000:,.4g}{formatting.THIN}h"


# --- the verdict ---------------------------------------------------------------------------------------------------------


class Figure(NamedTuple):
    """What was measured. value: None where nothing was. least: what it is at least, where the value itself is a bucket's middle.
    missing: why there is no value."""

    value: int | None
    least: int
    samples: int
    missing: str = ""


class Judgement(NamedTuple):
    """state: a key of ``performance_choices.VERDICTS``. why: one sentence."""

    state: str
    why: str


def needed_samples(metric: str, bound: int, min_samples: int) -> int:
    """How many measurements a verdict takes: of failures also so many that one alone is no breach."""
    return max(min_samples, ceil_div(WHOLE, bound)) if metric == "error_rate" else min_samples


def judge(metric: str, *, bound: int, warn_percent: int, min_samples: int, figure: Figure, samples_of: str) -> Judgement:
    """Unknown where too little was measured, breached only where it is certain, else warning from the bound's share on."""
    if figure.value is None:
        return Judgement("unknown", figure.missing or "nothing was measured in the window")
    said, limit = value_text(metric, figure.value), value_text(metric, bound)
    needed = needed_samples(metric, bound, min_samples)
    if figure.samples < needed:
        return Judgement("unknown", f"too few to judge: {figure.samples:,} {samples_of}, at least {needed:,} are needed; {said} so far")
    if figure.least > bound:
        return Judgement("breached", f"{said} is above the bound of {limit}")
    if figure.value * 100 >= bound * warn_percent:
        close = "as near to the bound as can be measured" if figure.value > bound else f"{warn_percent} % of the bound or more"
        return Judgement("warning", f"{said} of {limit}: {close}")
    return Judgement("ok", f"{said} of {limit}")


def worst(states: list[str]) -> str:
    """The worst of several verdicts; unknown where there is none, and worse than ok: silence is no health."""
    order = ("ok", "unknown", "warning", "breached")
    return max(states, key=order.index, default="unknown")
