"""Checking providers: one cheap authenticated call per endpoint, its latest state kept, each change of state an event."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
from django.db import transaction
from django.utils import timezone

from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.providers import outbound
from apps.providers.authorised import NotAuthorised, credential_headers
from apps.providers.choices import CHECK_EVENT
from apps.providers.models import Endpoint, ProviderCheck
from apps.providers.rules import check_state
from apps.providers.selectors import endpoints_to_check
from apps.providers.services import credential_value
from apps.providers.spoken import models_url

PARALLEL = 8


class CheckResult(NamedTuple):
    """What one check saw. status: HTTP status, None without an answer. latency_us: microseconds until the headers."""

    state: str
    status: int | None
    latency_us: int | None
    detail: str


def providers_check(*, endpoint_ids: Sequence[str] | None = None) -> dict[str, str]:
    """Check the endpoints of every enabled provider (or the given ones); returns endpoint id -> state.

    Calls run in parallel and outside any transaction; results are written one by one, so that a slow
    endpoint holds nothing up. A check never raises for what an upstream does.
    """
    endpoints = endpoints_to_check()
    if endpoint_ids is not None:
        endpoints = endpoints.filter(pk__in=endpoint_ids)
    states: dict[str, str] = {}
    work: list[tuple[Endpoint, str | None]] = []
    for endpoint in endpoints:
        try:
            work.append((endpoint, credential_value(endpoint.credential) if endpoint.credential else None))
        except ServiceError as error:
            check_record(endpoint=endpoint, result=CheckResult("refused", None, None, error.message[:300]))
            states[str(endpoint.pk)] = "refused"
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        for (endpoint, _), result in zip(work, pool.map(lambda item: check_endpoint(*item), work), strict=True):
            check_record(endpoint=endpoint, result=result)
            states[str(endpoint.pk)] = result.state
    return states


def check_endpoint(endpoint: Endpoint, secret: str | None) -> CheckResult:
    """One ``GET <base_url>/models`` through the outbound guard; redirects are not followed, so that the credential goes nowhere else."""
    kind = endpoint.provider.kind
    url = models_url(kind, endpoint.base_url, endpoint.api_version)
    headers = {"user-agent": "bulkhead-check", "accept": "application/json"}
    started = time.perf_counter_ns()
    try:
        headers |= credential_headers(
            kind, secret or "", method="GET", url=url, body=b"", allow_private=endpoint.provider.allow_private_addresses
        )
        started = time.perf_counter_ns()
        tls = outbound.tls_settings(verify=endpoint.verify_tls, ca_file=endpoint.ca_file)
        with (
            outbound.client(allow_private=endpoint.provider.allow_private_addresses, tls=tls) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            latency_us = (time.perf_counter_ns() - started) // 1000
            return CheckResult(check_state(answer.status_code), answer.status_code, latency_us, f"HTTP {answer.status_code}")
    except NotAuthorised as error:
        return CheckResult("refused", None, None, str(error)[:300])
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # The type and system message only: never the headers that carried the secret.
        what = "Refused by the outbound guard" if outbound.cause_of(error, outbound.AddressRefused) else type(error).__name__
        detail = f"{what}: {error}" if not secret else f"{what}: {str(error).replace(secret, '[redacted]')}"
        return CheckResult("down", None, None, detail[:300])


@transaction.atomic
def check_record(*, endpoint: Endpoint, result: CheckResult) -> ProviderCheck:
    """Keep a result as the endpoint's latest; a change of state is an event."""
    now = timezone.now()
    previous = ProviderCheck.objects.select_for_update().filter(endpoint=endpoint).first()
    changed = previous is None or previous.state != result.state
    row, _ = ProviderCheck.objects.update_or_create(
        endpoint=endpoint,
        defaults={
            "state": result.state,
            "status": result.status,
            "latency_us": result.latency_us,
            "detail": result.detail,
            "checked_at": now,
            "since": now if changed or previous is None else previous.since,
        },
    )
    if changed:
        event_record(
            kind=CHECK_EVENT,
            subject_kind="provider",
            subject_id=str(endpoint.provider_id),
            subject_name=endpoint.provider.name,
            at=now,
            data={
                "endpoint": endpoint.name,
                "from": previous.state if previous else "",
                "to": result.state,
                "status": result.status,
                "latency_us": result.latency_us,
                "detail": result.detail,
            },
        )
    return row
