"""What a failed attempt means: for this request, for the target's breaker, and for how long the target wants to be left alone.

=========================================  ==========================================================  ==============
failure                                    this request                                                breaker
=========================================  ==========================================================  ==============
401, 402, 403, or no credit left           this credential is dead: next target; its owner is told     failure
408, 424 (the model failed)                next target                                                 failure
429, or a quota that is used up            next target; none left: waits as long as it was told,       nothing
                                           if that fits the deadline
5xx, reset, refused, malformed             once more on the same target, then the next                 failure
silence, refused address, bad certificate  never again on the same target: next target                 failure
silence, but the app had no more time      the same                                                    nothing
no connection left of those it may have    next target                                                 nothing
a limit of its model is used up            not asked: next target                                      nothing
404, or a model that is not known there    next target with another model or provider                  nothing
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
_NO_MODEL = re.compile(rb'"code": ?"(?:model_not_found|DeploymentNotFound)"')
_NO_QUOTA = re.compile(rb'"code": ?"quota_exceeded"')
_NO_CREDIT = re.compile(rb'"(?:code|type)": ?"insufficient_quota"')
"""Some providers say all of these with a 400. Other formats' words were turned into these before (``Call.problem``)."""
_IN_BAND = {
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded": 503,
}
"""What errors inside streams are called, as statuses."""
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
    if status in (408, 424):
        return _NEXT
    if status >= 500 or status < 400:
        pause = retry_after(error.headers) if status == 503 else 0.0
        return Verdict("next", True, pause) if pause else _AGAIN
    body = error.body[:_LOOKED_AT]
    if _FILTERED.search(body):
        return _ANSWER
    if status == 413 or (status in (400, 422) and _CONTEXT.search(body)):
        return _LARGER
    if status == 404 or (status == 400 and _NO_MODEL.search(body)):
        return _OTHER_MODEL
    if status == 400 and _NO_CREDIT.search(body):
        return _CREDENTIAL
    if status == 400 and _NO_QUOTA.search(body):
        return Verdict("pause", False, retry_after(error.headers))
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
        said = body.get("error") if isinstance(body.get("error"), dict) else {}
        code = said.get("code")
    except (ValueError, AttributeError, RecursionError):
        return 502
    if isinstance(code, int) and 400 <= code <= 599:
        return code
    return next((_IN_BAND[word] for word in (code, said.get("type")) if isinstance(word, str) and word in _IN_BAND), 502)
