"""Pages of the weekly e-mail: who gets one and how the last ones went, a preview of each, sending one again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone as clock

from apps.audit.errors import ServiceError
from apps.budgets.models import WeeklyReport
from apps.budgets.weekly_content import Owned, owners_of, week_before, weekly_build
from apps.budgets.weekly_sending import CLAIM, MOST_TRIES, weekly_send_again
from apps.publishing.editing import ScopedView
from apps.ui.status import Status
from apps.ui.toasts import toast
from apps.usage.cost_tabs import cost_tabs

STATES: dict[str, Status] = {
    status.value: status
    for status in (
        Status("sent", "Sent", "good"),
        Status("waiting", "Waiting", "info", "clock"),
        Status("failed", "Not sent", "bad"),
        Status("unknown", "Delivery unknown", "unknown", hint="The mail server was given it and said nothing; it is not sent twice."),
        Status("none", "None yet", "neutral", hint="E-mails go out on Mondays from 6:00 UTC on."),
    )
}


def report_state(report: WeeklyReport | None, *, now: datetime) -> Status:
    """How far the e-mail is."""
    if report is None:
        return STATES["none"]
    if report.sent_at is not None:
        return STATES["sent"]
    if report.sending_at is not None:
        return STATES["unknown" if report.sending_at < now - CLAIM or report.told.startswith("unknown") else "waiting"]
    return STATES["failed" if report.tries >= MOST_TRIES else "waiting"]


@dataclass(frozen=True, slots=True)
class Line:
    """An owner and their e-mail about the last whole week."""

    owned: Owned
    report: WeeklyReport | None
    state: Status

    @property
    def can_repeat(self) -> bool:
        """Whether somebody may have it sent again."""
        return self.state.value in ("failed", "unknown")


class WeeklyView(ScopedView):
    """``/costs/weekly/``: the owners of budgets and teams, and how their last e-mail went."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "budget.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        now = clock.now()
        starts = week_before(now)
        organisation = self.choice.organisation
        reports = {row.owner: row for row in WeeklyReport.objects.filter(organisation=organisation, week_starts=starts)}
        lines = [
            Line(owned, reports.get(owner), report_state(reports.get(owner), now=now)) for owner, owned in owners_of(organisation).items()
        ]
        context = {
            "choice": self.choice,
            "tabs": cost_tabs("reviews:weekly"),
            "lines": lines,
            "starts": starts,
            "mail": bool(settings.EMAIL_HOST),
            "may_send": self.choice.may("weekly.send"),
            "may_budget": self.choice.may("budget.change"),
        }
        return render(request, "budgets/weekly_list.html", context)


class PreviewView(ScopedView):
    """``/costs/weekly/preview/?owner=ada@acme.test``: what that owner's e-mail about the last whole week says now; with ``&sent=1`` what
    it said when it was sent."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "budget.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        now = clock.now()
        starts = week_before(now)
        owners = owners_of(self.choice.organisation)
        asked = request.GET.get("owner", "").strip().lower()
        if asked and asked not in owners:
            raise Http404("This address owns no budget and no team in this organisation.")
        owner = asked or next(iter(owners), "")
        context: dict[str, Any] = {
            "choice": self.choice,
            "tabs": cost_tabs("reviews:weekly"),
            "crumbs": (("Weekly e-mail", reverse("reviews:weekly")),),
            "owner": owner,
            "starts": starts,
        }
        if owner and request.GET.get("sent"):
            context["report"] = WeeklyReport.objects.filter(
                organisation=self.choice.organisation, owner=owner, week_starts=starts, sending_at__isnull=False
            ).first()
            if context["report"] is None:
                raise Http404("The e-mail of that owner about the last week was not sent yet.")
        elif owner:
            weekly = weekly_build(self.choice.organisation, owners[owner], starts=starts, now=now)
            context |= {"weekly": weekly, "text": weekly.rendered()[0]}
        return render(request, "budgets/weekly_preview.html", context)


class SendAgainView(ScopedView):
    """``/costs/weekly/send/``: POST ``owner`` and ``reason``; the next run sends it."""

    http_method_names: ClassVar[list[str]] = ["post"]
    permission = "weekly.send"

    def post(self, request: HttpRequest) -> HttpResponseBase:
        starts = week_before(datetime.now(UTC))
        owner, reason = request.POST.get("owner", "").strip().lower(), request.POST.get("reason", "").strip()
        report = WeeklyReport.objects.filter(organisation=self.choice.organisation, owner=owner, week_starts=starts).first()
        if report is None:
            raise Http404("There is no e-mail of that owner for the last week.")
        if not reason:
            toast(request, "Nothing was done: say why in the reason field.", tone="bad")
            return redirect("reviews:weekly")
        try:
            weekly_send_again(actor=self.actor, report=report, reason=reason)
        except ServiceError as error:
            toast(request, str(error), tone="bad")
        else:
            toast(request, f"The e-mail to {owner} goes out within ten minutes")
        return redirect("reviews:weekly")
