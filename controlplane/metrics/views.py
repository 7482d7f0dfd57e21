"""``/metrics``, and ``/metrics/targets``: everything there is to scrape, as Prometheus' HTTP service discovery reads it."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone as clock
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.contracts.exposition import rendered
from apps.publishing.selectors import fleet_status
from apps.settlement.presence import metrics_targets, shippers_heard
from controlplane.metrics import installation
from controlplane.metrics.access import refusal
from controlplane.metrics.counting import WEB


@require_safe
@never_cache
def scrape(request: HttpRequest) -> HttpResponse:
    """This process and the installation, as text for Prometheus."""
    refused = _refused(request)
    if refused is not None:
        return refused
    kind, body = rendered([*WEB.families(), *installation.families()], request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=kind)


@require_safe
@never_cache
def targets(request: HttpRequest) -> HttpResponse:
    """Proxies' admin ports, shippers, and this web process. 503 while Postgres is away: Prometheus then goes on with what it knows."""
    refused = _refused(request)
    if refused is not None:
        return refused
    try:
        proxies, shippers = fleet_status()["proxies"], metrics_targets(shippers_heard(now=clock.now()))
    except (OperationalError, InterfaceError):
        return JsonResponse({"error": "the database is away, so who there is to scrape is not known"}, status=503)
    found = [_target("web", "web", "", f"{request.scheme}://{request.get_host()}")]
    found += [_target("proxy", proxy["name"], proxy["host"], proxy["admin_url"]) for proxy in proxies if not proxy["silent"]]
    found += [_target("shipper", "shipper", host, url) for host, url in shippers]
    return JsonResponse([target for target in found if target is not None], safe=False)


def _target(process: str, name: str, host: str, url: str) -> dict[str, object] | None:
    parts = urlsplit(url)
    if not parts.netloc:
        return None
    labels = {"__scheme__": parts.scheme, "job": f"bulkhead-{process}", "bulkhead_name": name, "bulkhead_host": host}
    return {"targets": [parts.netloc], "labels": {name: value for name, value in labels.items() if value}}


def _refused(request: HttpRequest) -> HttpResponse | None:
    found = refusal(request)
    if found is None:
        return None
    status, text = found
    response = HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")
    if status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response
