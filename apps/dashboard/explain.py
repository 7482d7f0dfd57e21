"""Why a request went where it went, in sentences, from its record alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apps.contracts.errors import CODES
from apps.ui.format import duration


def reasons(*, record: Any, attempts: Sequence[dict[str, Any]]) -> list[str]:
    """What led to the target that answered, or to none. ``record``: a row of ``usage_request``."""
    if not attempts:
        if record.outcome == "refused":
            step = f" at the step “{record.error_step}”" if record.error_step else ""
            code = record.error_code or "no code"
            return [f"The proxy refused it{step} with {code}, before any provider was called: it cost nothing upstream."]
        if record.outcome == "cancelled":
            return ["The app left before any provider was called."]
        return ["No provider was called."]
    told = []
    if record.route:
        alias = f", asked for as “{record.requested_model}”," if record.requested_model and record.requested_model != record.route else ""
        told.append(f"Route “{record.route}”{alias} tries its targets in order, leaving out those that cannot be used.")
    if record.flags:
        told.append(f"Flags that had a say: {', '.join(map(str, record.flags))}.")
    for number, attempt in enumerate(attempts, 1):
        target = f"{attempt['provider']} ({attempt['model']})"
        took = duration(int(attempt["ended_us"]) - int(attempt["sent_us"]))
        if attempt["outcome"] == "ok":
            way = "was first in line and answered" if number == 1 else "was next in line and answered"
            told.append(f"{target} {way} in {took}.")
        elif attempt["outcome"] == "cancelled":
            told.append(f"{target} was answering when the app left, after {took}.")
        elif attempt["outcome"] == "unknown":
            told.append(f"{target} was being called when the proxy died; the attempt is settled at its reservation.")
        else:
            told.append(f"{target} failed after {took} with {_failure(attempt)}.{_next(number, attempts)}")
    if record.estimated:
        told.append(
            "The provider reported no usage for at least one attempt, so its tokens and cost are the upper bound that was reserved."
        )
    return told


def _failure(attempt: dict[str, Any]) -> str:
    code, status = attempt["error_code"], attempt["status"]
    words = [code] if code else []
    if status:
        words.append(f"status {status}")
    return ", ".join(words) or "no answer"


def _next(number: int, attempts: Sequence[dict[str, Any]]) -> str:
    if number < len(attempts):
        same = (
            attempts[number]["provider"] == attempts[number - 1]["provider"] and attempts[number]["model"] == attempts[number - 1]["model"]
        )
        return " It was tried once more." if same else " The next target was tried."
    code = attempts[number - 1]["error_code"]
    known = CODES.get(code)
    return " The app may try again." if known and known.retry else ""
