"""The audit log's pages. They live beside people, because audit itself knows none."""

from __future__ import annotations

from typing import ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render

from apps.accounts.audit_export import FORMATS, audit_export
from apps.accounts.pages import ScopedView
from apps.audit.checking import chain_check, chain_checked
from apps.audit.listing import AuditLog, altered
from apps.audit.models import AuditEvent
from apps.ui.timerange import PRESETS
from apps.ui.toasts import toast


class AuditLogView(ScopedView):
    """``/audit/``: who did what, when and why; and how far the chain is known to be unbroken."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission, installation = "audit.view", True

    def get(self, request: HttpRequest) -> HttpResponseBase:
        log = AuditLog(request.GET)
        if request.GET.get("format") in FORMATS:
            return audit_export(actor=self.actor, query=request.GET, form=request.GET["format"])
        context = {
            "may_export": self.choice.may_installation("audit.export"),
            "choice": self.choice, "log": log, "listing": log.listing, "check": chain_checked(), "range": log.range, "presets": PRESETS,
            "altered": {event.seq for event in log.listing.rows if altered(event)},
        }  # fmt: skip
        return render(request, "audit/log.html", context)


class AuditEventView(ScopedView):
    """``/audit/<seq>/``: one event with what was before and after, and its place in the chain."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission, installation = "audit.view", True

    def get(self, request: HttpRequest, seq: int) -> HttpResponseBase:
        event = AuditEvent.objects.filter(seq=seq).first() if seq < 2**63 else None
        if event is None:
            raise Http404(f"There is no audit event {seq}.")
        context = {"choice": self.choice, "event": event, "altered": altered(event), "check": chain_checked()}
        return render(request, "audit/event.html", context)


class ChainCheckView(ScopedView):
    """``/audit/check/``: walk the whole chain now."""

    http_method_names: ClassVar[list[str]] = ["post"]
    permission, installation = "audit.view", True

    def post(self, request: HttpRequest) -> HttpResponseBase:
        found = chain_check(whole=True)
        if found.broken:
            toast(request, f"The chain is broken: {found.broken}", tone="bad")
        else:
            toast(request, f"Unbroken: {found.links} links were hashed again")
        return redirect("audit:log")
