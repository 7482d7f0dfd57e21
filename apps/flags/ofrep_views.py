"""``/ofrep/v1``: flags for apps by the OpenFeature Remote Evaluation Protocol, opened by a virtual key. No session, no cookie, no page."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from apps.accounts.api.rates import Rate, SharedRate
from apps.audit.actors import client_address
from apps.contracts.env import Reader
from apps.flags.ofrep import FLAG_NOT_FOUND, GENERAL, PARSE_ERROR, Context, EvaluationError, FlagSet, context_read
from apps.flags.ofrep_store import KeyRefused, exposures_add, flags_published, key_opened
from apps.keys.models import VirtualKey

MAX_BODY = 64 * 1024
PER_MINUTE = Reader().integer("BULKHEAD_OFREP_PER_MINUTE", 6_000, minimum=1)
EVALUATIONS: Rate = SharedRate("ofrep", per_minute=PER_MINUTE, burst=max(PER_MINUTE // 10, 10))
"""Calls of one key."""
REFUSALS: Rate = SharedRate("ofrep-refused", per_minute=30, burst=60)
"""Wrong keys from one address."""

log = logging.getLogger("bulkhead.ofrep")


@csrf_exempt
@never_cache
def flag(request: HttpRequest, key: str) -> HttpResponse:
    """``POST /ofrep/v1/evaluate/flags/<key>``: one flag."""
    return _answered(request, key)


@csrf_exempt
@never_cache
def flags(request: HttpRequest) -> HttpResponse:
    """``POST /ofrep/v1/evaluate/flags``: all flags of the key's organisation, with an ETag."""
    return _answered(request, None)


def _answered(request: HttpRequest, name: str | None) -> HttpResponse:
    if request.method != "POST":
        response = _json(405, {"errorCode": GENERAL, "errorDetails": "evaluate with POST"})
        response["Allow"] = "POST"
        return response
    try:
        address = client_address(request)
        key = _key(request, address)
        if wait := EVALUATIONS.take(str(key.pk)):
            raise _Slow(wait, EVALUATIONS.counted)
        found = flags_published(str(key.organisation_id))
        if str(key.pk) in found.killed:
            raise KeyRefused(403, "the virtual key is stopped by a kill switch: ask its owner")
        context = context_read(_body(request), environment=key.environment)
        return _one(key, found, name, context) if name is not None else _bulk(request, key, found, context)
    except KeyRefused as refusal:
        response = _json(refusal.status, {"errorCode": GENERAL, "errorDetails": refusal.details})
        if refusal.status == 401:
            response["WWW-Authenticate"] = "Bearer"
        return response
    except _Slow as slow:
        response = _json(
            429, {"errorCode": GENERAL, "errorDetails": f"too many calls, counted {slow.counted}: wait as long as Retry-After says"}
        )
        response["Retry-After"] = str(max(1, math.ceil(slow.seconds)))
        return response
    except EvaluationError as error:
        told = {"errorCode": error.code, "errorDetails": error.details, **({"key": name} if name is not None else {})}
        return _json(404 if error.code == FLAG_NOT_FOUND else 400, told)
    except (OperationalError, InterfaceError) as error:
        log.warning("ofrep: the database does not answer: %s", error)
        return _json(500, {"errorCode": GENERAL, "errorDetails": "the database does not answer: use your default, and ask again"})


def _one(key: VirtualKey, found: FlagSet, name: str, context: Context) -> HttpResponse:
    answer = found.evaluate(name, context, simulated=key.organisation.simulated)
    exposures_add(str(key.organisation_id), [answer])
    return _json(200, answer.document())


def _bulk(request: HttpRequest, key: VirtualKey, found: FlagSet, context: Context) -> HttpResponse:
    told, answers = found.documents(context, simulated=key.organisation.simulated)
    for entry in told:  # a flip elsewhere must not change this answer's tag
        entry.get("metadata", {}).pop("configVersion", None)
    response = _json(200, {"flags": told, "metadata": {"organisation": key.organisation.slug}})
    tag = f'"{hashlib.sha256(response.content).hexdigest()[:32]}"'
    known = [each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")]
    if tag in known or "*" in known:
        response = HttpResponse(status=304)
    else:
        exposures_add(str(key.organisation_id), answers)
    response["ETag"] = tag
    return response


class _Slow(Exception):
    """A call too many. seconds: until there is room. counted: where calls are counted, in words."""

    def __init__(self, seconds: float, counted: str) -> None:
        super().__init__(seconds)
        self.seconds = seconds
        self.counted = counted


def _key(request: HttpRequest, address: str) -> VirtualKey:
    if wait := REFUSALS.wait(address):
        raise _Slow(wait, REFUSALS.counted)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key", "").strip()
    try:
        return key_opened(given, address=address)
    except KeyRefused as refusal:
        if refusal.status == 401:
            REFUSALS.take(address)
        raise


def _body(request: HttpRequest) -> Any:
    try:
        body = request.body
    except RequestDataTooBig:
        body = b" " * (MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise EvaluationError(PARSE_ERROR, f"the body is larger than {MAX_BODY} bytes: send what rules look at only")
    try:
        return json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise EvaluationError(PARSE_ERROR, "the body is no JSON") from None


def _json(status: int, document: dict[str, Any]) -> HttpResponse:
    return HttpResponse(json.dumps(document, separators=(",", ":")), status=status, content_type="application/json")
