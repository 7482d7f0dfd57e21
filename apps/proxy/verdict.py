"""What a failed attempt means: for this request, for the target's breaker, and for how long the target wants to be left alone.

=========================================  ==========================================================  ==============
failure                                    this request                                                breaker
=========================================  ==========================================================  ==============
401, 402, 403                              this credential is dead: next target; its owner is told     failure
408                                        next target                                                 failure
429                                        next target; none left: waits as long as it was told,       nothing
                                           if that fits the deadline
5xx, reset, refused, malformed             once more on the same target, then the next                 failure
silence, refused address, bad certificate  never again on the same target: next target                 failure
silence, but the app had no more time      the same                                                    nothing
no connection left of those it may have    next target                                                 nothing
a limit of its model is used up            not asked: next target                                      nothing
404                                        next target with another model or provider                  nothing
413, or too long for the model's context   next target with a larger window                            nothing
content filter                             the provider's answer, at once: never routed around         nothing
other 4xx                                  the app's own mistake: its answer, at once                  nothing
=========================================  ==========================================================  ==============

A client's own 4xx never counts against a breaker: one app's mistake would close a provider for all others.
"""

from __future__ import annotations

import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

from apps.proxy.errors import AttemptFailed, LimitReached, SeamRefused, UpstreamAnswered, UpstreamBroken, UpstreamSilent

MAX_PAUSE_SECONDS = 60.0
"""A provider that asks for more is passed over: nobody waits that long for an answer."""

_CONTEXT = re.compile(
    rb"context.?length.?exceeded|maximum context length|context window|prompt is too long|too many (?:input )?tokens"
    rb"|input (?:is )?too long|reduce the length of the messages|exceeds? the (?:model's )?(?:maximum )?context",
    re.I,
)
_FILTERED = re.compile(rb"content.?filter|content.?policy|content_policy_violation|ResponsibleAIPolicyViolation|safety system", re.I)
_LOOKED_AT = 4_096
"""Bytes of an error's body that are searched."""

Course = Literal["credential", "again", "next", "pause", "other_model", "larger_window", "answer"]


class Verdict(NamedTuple):
    """course: what to do now. counts: whether the target's breaker hears of it. pause: seconds the target asked for, 0 for none."""

    course: Course
    counts: bool
    pause: float = 0.0


_AGAIN = Verdict("again", True)
_NEXT = Verdict("next", True)
_ELSEWHERE = Verdict("next", False)
_CREDENTIAL = Verdict("credential", True)
_ANSWER = Verdict("answer", False)
_OTHER_MODEL = Verdict("other_model", False)
_LARGER = Verdict("larger_window", False)


def verdict(error: AttemptFailed) -> Verdict:
    if isinstance(error, UpstreamSilent):
        return _NEXT if error.telling else _ELSEWHERE
    if not isinstance(error, UpstreamAnswered):
        if isinstance(error, (SeamRefused, LimitReached)) or (isinstance(error, UpstreamBroken) and error.ours):
            return _ELSEWHERE
        return _AGAIN if not isinstance(error, UpstreamBroken) or error.again else _NEXT
    status = error.status
    if status in (401, 402, 403):
        return _CREDENTIAL if not _FILTERED.search(error.body[:_LOOKED_AT]) else _ANSWER
    if status == 429:
        return Verdict("pause", False, retry_after(error.headers))
    if status == 408:
        return _NEXT
    if status >= 500 or status < 400:
        pause = retry_after(error.headers) if status == 503 else 0.0
        return Verdict("next", True, pause) if pause else _AGAIN
    body = error.body[:_LOOKED_AT]
    if _FILTERED.search(body):
        return _ANSWER
    if status == 413 or (status in (400, 422) and _CONTEXT.search(body)):
        return _LARGER
    if status == 404:
        return _OTHER_MODEL
    return _ANSWER


def retry_after(headers: dict[bytes, bytes], *, wall: float | None = None) -> float:
    """Seconds that a provider asks to be left alone, in any of its spellings; 0 where it says nothing or nonsense.

    ``retry-after-ms`` (OpenAI), ``x-ms-retry-after-ms`` (Azure), ``retry-after`` in seconds or as a date (RFC 9110 10.2.3).
    wall: the present, seconds since the epoch.
    """
    for name in (b"retry-after-ms", b"x-ms-retry-after-ms"):
        value = headers.get(name)
        if value is not None:
            seconds = _number(value) / 1_000
            if seconds > 0:
                return seconds
    value = headers.get(b"retry-after")
    if value is None:
        return 0.0
    seconds = _number(value)
    if seconds > 0 or value.strip()[:1].isdigit():
        return seconds
    try:
        moment = parsedate_to_datetime(value.decode("latin-1")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, moment - (time.time() if wall is None else wall))


def _number(value: bytes) -> float:
    """A decimal number of seconds; 0 for anything else, negative and endless ones included."""
    try:
        number = float(value)
    except ValueError:
        return 0.0
    return number if 0 < number < 1e9 else 0.0


def in_band_status(error: str) -> int:
    """The status an error inside a stream stands for; 502 where it does not say."""
    try:
        body = json.loads(error)
        code = body.get("error", {}).get("code") if isinstance(body.get("error"), dict) else None
    except (ValueError, AttributeError, RecursionError):
        return 502
    return code if isinstance(code, int) and 400 <= code <= 599 else 502
