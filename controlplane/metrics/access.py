"""Who may scrape the web process: whoever knows the token, and where none is set, whoever asks on this host itself.

The web process is often reached through another server, so an address alone says little: a request that was handed on, or that asks for
another name than this host's own, is not from here, whatever address it comes from.
"""

from __future__ import annotations

from hmac import compare_digest
from ipaddress import ip_address

from django.http import HttpRequest
from django.http.request import split_domain_port

from controlplane import env

HANDED_ON = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via")
"""Headers by which a server before ours says that it is there."""


def refusal(request: HttpRequest) -> tuple[int, str] | None:
    """(status, what to do) for who may not; None for who may."""
    token = env.metrics_token()
    if token:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and compare_digest(given.strip().encode(), token):
            return None
        return 401, "Send the token of BULKHEAD_METRICS_TOKEN as 'Authorization: Bearer <token>'."
    if _here(request):
        return None
    return 403, "Metrics are told on this host only. Set BULKHEAD_METRICS_TOKEN at the web process and send it as a bearer token."


def _here(request: HttpRequest) -> bool:
    if any(name in request.headers for name in HANDED_ON):
        return False
    domain, _ = split_domain_port(request.get_host())
    return _loopback(request.META.get("REMOTE_ADDR", "")) and (domain == "localhost" or _loopback(domain.strip("[]")))


def _loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
