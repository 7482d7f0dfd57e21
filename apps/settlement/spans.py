"""A settled record as OpenTelemetry spans: one for the request (SERVER), one for each attempt (CLIENT). Pure.

Names follow the GenAI semantic conventions (``gen_ai.*``) and those of HTTP; what only Bulkhead knows is named ``bulkhead.*``. No content,
no user and no metadata of the app is among the attributes: those are the app's words. A request that came with a caller's trace is part
of it; one that came without has a trace of its own, whose id is the request's (``apps.contracts.traceparent``).
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from apps.contracts.identifiers import uuid_text
from apps.contracts.traceparent import attempt_span, request_span, trace_unpack
from apps.contracts.usage import Attempt, Tokens, UsageRecord
from apps.usage.documents import serving_attempt

SCOPE = InstrumentationScope("bulkhead.settlement", "1")
SERVICE = "bulkhead-proxy"
PATHS = {
    "chat": "/v1/chat/completions",
    "embeddings": "/v1/embeddings",
    "rerank": "/v1/rerank",
    "moderations": "/v1/moderations",
    "images": "/v1/images/generations",
    "transcriptions": "/v1/audio/transcriptions",
    "translations": "/v1/audio/translations",
    "speech": "/v1/audio/speech",
}
BROKEN = frozenset({"error", "unknown"})
"""Outcomes that make a span's status an error; a refusal, and an app that left, are told by ``error.type`` alone."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_EMPTY: tuple[object, ...] = (None, "", ())


def trace_id_of(record: UsageRecord) -> bytes:
    """Sixteen bytes: the caller's trace, or the request's own."""
    trace = trace_unpack(record.trace)
    return record.id if trace is None else trace.trace_id


def resource_of(record: UsageRecord, environment: str) -> Resource:
    """The proxy process that served the request. ``environment``: the installation's name."""
    return Resource({"service.name": SERVICE, "service.instance.id": record.proxy, "deployment.environment.name": environment})


def spans_of(record: UsageRecord, resource: Resource, sampled_by: str) -> list[ReadableSpan]:
    """The request's span, then its attempts'. ``sampled_by``: the rule that chose it."""
    trace = trace_unpack(record.trace)
    trace_id = int.from_bytes(trace_id_of(record), "big")
    mine = SpanContext(trace_id, int.from_bytes(request_span(record.id), "big"), False, _SAMPLED)
    parent = None if trace is None else SpanContext(trace_id, int.from_bytes(trace.parent, "big"), True, TraceFlags(trace.flags))
    found = [
        ReadableSpan(
            f"{record.kind} {record.route}" if record.route else record.kind,
            mine,
            parent,
            resource,
            {**_request_attributes(record), "bulkhead.sampled_by": sampled_by},
            kind=SpanKind.SERVER,
            status=_status(record.outcome, record.error_code),
            start_time=record.started_us * 1000,
            end_time=(record.started_us + max(0, record.total_us)) * 1000,
            instrumentation_scope=SCOPE,
        )
    ]
    for number, attempt in zip(_numbers(record.attempts), record.attempts, strict=True):
        span = SpanContext(trace_id, int.from_bytes(attempt_span(record.id, number), "big"), False, _SAMPLED)
        begun = attempt.sent_us or attempt.ended_us  # what was never sent took no time of its own
        found.append(
            ReadableSpan(
                f"{record.kind} {attempt.model}",
                span,
                mine,
                resource,
                _attempt_attributes(record, attempt),
                kind=SpanKind.CLIENT,
                status=_status(attempt.outcome, attempt.error_code),
                start_time=(record.started_us + begun) * 1000,
                end_time=(record.started_us + max(begun, attempt.ended_us)) * 1000,
                instrumentation_scope=SCOPE,
            )
        )
    return found


def _numbers(attempts: Sequence[Attempt]) -> Sequence[int]:
    """By which each attempt's span is named; their places where records of an older proxy tell none."""
    numbers = [attempt.number for attempt in attempts]
    return numbers if len(set(numbers)) == len(numbers) else range(len(numbers))


def _status(outcome: str, code: str) -> Status:
    return Status(StatusCode.ERROR, code or outcome) if outcome in BROKEN else Status(StatusCode.UNSET)


def _request_attributes(record: UsageRecord) -> dict[str, AttributeValue]:
    serving = serving_attempt(record)
    answered = record.attempts[serving] if serving >= 0 else None
    found: dict[str, AttributeValue | None] = {
        "http.request.method": "POST",
        "http.route": PATHS.get(record.kind),
        "url.path": PATHS.get(record.kind),
        "http.response.status_code": record.status or None,
        "error.type": record.error_code or (record.outcome if record.outcome in BROKEN else None),
        "gen_ai.operation.name": record.kind,
        "gen_ai.request.model": record.requested_model,
        "gen_ai.request.stream": record.stream,
        "gen_ai.provider.name": answered.provider if answered is not None else None,
        "gen_ai.response.model": answered.model if answered is not None and answered.outcome == "ok" else None,
        "gen_ai.response.time_to_first_chunk": record.first_token_us / 1e6 if record.first_token_us >= 0 else None,
        **_usage(record.tokens, record.estimated),
        "bulkhead.request.id": uuid_text(record.id),
        "bulkhead.organisation": record.organisation,
        "bulkhead.key.id": record.key_id,
        "bulkhead.route": record.route,
        "bulkhead.team": record.team,
        "bulkhead.service": record.service,
        "bulkhead.environment": record.environment,
        "bulkhead.feature": record.feature,
        "bulkhead.tags": tuple(record.tags),
        "bulkhead.flags": tuple(record.flags),
        "bulkhead.config.version": record.config_version,
        "bulkhead.simulated": record.simulated,
        "bulkhead.outcome": record.outcome,
        "bulkhead.error.step": record.error_step,
        "bulkhead.attempts": len(record.attempts),
        "bulkhead.cost.nano_usd": record.cost_nano,
    }
    return {name: value for name, value in found.items() if value not in _EMPTY}  # type: ignore[misc]


def _attempt_attributes(record: UsageRecord, attempt: Attempt) -> dict[str, AttributeValue]:
    first = (attempt.first_byte_us - attempt.sent_us) / 1e6 if record.stream and attempt.first_byte_us >= 0 else None
    found: dict[str, AttributeValue | None] = {
        "http.request.method": "POST",
        "http.response.status_code": attempt.status or None,
        "error.type": attempt.error_code or (attempt.outcome if attempt.outcome in BROKEN else None),
        "gen_ai.operation.name": record.kind,
        "gen_ai.provider.name": attempt.provider,
        "gen_ai.request.model": attempt.model,
        "gen_ai.request.stream": record.stream,
        "gen_ai.response.time_to_first_chunk": first,
        **_usage(attempt.tokens, attempt.estimated),
        "bulkhead.request.id": uuid_text(record.id),
        "bulkhead.endpoint": attempt.endpoint,
        "bulkhead.region": attempt.region,
        "bulkhead.attempt.role": attempt.role,
        "bulkhead.simulated": attempt.simulated,
        "bulkhead.outcome": attempt.outcome,
        "bulkhead.cost.nano_usd": attempt.cost_nano,
        "bulkhead.price.version": attempt.price_version,
        "bulkhead.upstream.request_id": attempt.upstream_request_id,
    }
    return {name: value for name, value in found.items() if value not in _EMPTY}  # type: ignore[misc]


def _usage(tokens: Tokens, estimated: bool) -> dict[str, AttributeValue | None]:
    """What was used; with ``bulkhead.usage.estimated`` these are upper bounds, because the provider told none."""
    if not (tokens.input or tokens.output):
        return {}
    return {
        "gen_ai.usage.input_tokens": tokens.input,
        "gen_ai.usage.output_tokens": tokens.output,
        "gen_ai.usage.cache_read.input_tokens": tokens.cache_read or None,
        "gen_ai.usage.cache_creation.input_tokens": tokens.cache_write or None,
        "gen_ai.usage.reasoning.output_tokens": tokens.reasoning or None,
        "bulkhead.usage.estimated": estimated or None,
    }
