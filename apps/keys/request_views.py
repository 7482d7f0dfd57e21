"""Pages of self-service: asking for a key, the requests, deciding about one, fetching a secret."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from apps.accounts.rules import PermissionRefused
from apps.audit.errors import ServiceError
from apps.keys import choices, handovers, request_services, wishes
from apps.keys.forms import MOST_BOXES
from apps.keys.models import KeyHandover, KeyRequest, KeyTemplate, VirtualKey
from apps.keys.neighbours import routes_known
from apps.keys.secret_page import secret_page, unstored
from apps.keys.self_service_forms import AskForm, bounds_words, refusal_of
from apps.keys.tables import keys_tabs
from apps.publishing.editing import ActionView, ScopedView, refusal_text
from apps.publishing.preview import change_publish
from apps.ui.tables import Chip, Column, Empty, listing_build
from apps.ui.toasts import toast

SHOWN = {"open": "Waiting", "mine": "Mine", "all": "All"}


class AskView(ScopedView):
    """``/keys/ask/``: a key at once where the team's bounds allow it; else what lies outside them, and the question to its managers."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "key.request"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self._page(self._form(initial={"environment": "development", "all_routes": True, "budget_window": "month"}))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        asked = datetime.now(UTC)
        form = self._form(request.POST)
        if not form.is_valid():
            return self._page(form, status=400)
        team, wish, reason = form.team, form.wish(), form.cleaned_data["reason"].strip()
        try:
            if "ask" in request.POST:
                row = request_services.key_request(actor=self.actor, team=team, wish=wish, reason=reason)
                toast(request, f"Asked for the key {row.name}: the managers of {team.name} are told.")
                return redirect("keys:request", asking_id=row.pk)
            (key, token), _ = change_publish(
                actor=self.actor,
                reason=reason or f"key {wish.name} made",
                change=lambda: request_services.key_make(actor=self.actor, team=team, wish=wish, reason=reason),
            )
        except request_services.OutsideBounds as outside:
            return self._page(form, outside=outside.reasons)
        except PermissionRefused:
            if "ask" in request.POST:
                raise
            return self._page(form, outside=[f"you have no role in the team {team.name}"])
        except Exception as error:
            message, field = refusal_text(error)
            refusal_of(ServiceError(message, field or ""), form)
            return self._page(form, status=400)
        return secret_page(request, self.choice, key, token, since=asked)

    def _form(self, *data: Any, **more: Any) -> AskForm:
        organisation = self.choice.organisation
        return AskForm(*data, organisation=organisation, known=routes_known(organisation, most=MOST_BOXES + 1), **more)

    def _page(self, form: AskForm, *, outside: list[str] | None = None, status: int = 200) -> HttpResponseBase:
        rows = KeyTemplate.objects.filter(team__organisation=self.choice.organisation).select_related("team")[:50]
        mine = [row for row in rows if self.choice.may("key.create", team=row.team_id)]
        context = {
            "choice": self.choice,
            "form": form,
            "outside": outside,
            "bounds": [(row.team.name, list(bounds_words(row))) for row in mine],
            "crumbs": [("Keys", reverse("keys:list"))],
        }
        return render(self.request, "keys/ask.html", context, status=status)


COLUMNS: tuple[Column[KeyRequest], ...] = (
    Column("Key", "name", value=lambda row: row.name),
    Column("Status", "state", value=lambda row: choices.REQUEST_STATES[row.state].label),
    Column("Team", "team", order=("team__name",), value=lambda row: row.team.name),
    Column("Asked by", "by", order=("requester_email",), value=lambda row: row.requester_email),
    Column("Asked", "asked", order=("created_at",), numeric=True, value=lambda row: row.created_at.isoformat(timespec="seconds")),
    Column("What for", extra=True, value=lambda row: row.reason),
)


class RequestsView(ScopedView):
    """``/keys/requests/``: what waits (``?show=open``), one's own, or all; secrets that wait for the person on top."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "key.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        show = request.GET.get("show", "")
        show = show if show in SHOWN else "open"
        person = str(request.user.pk)
        rows = KeyRequest.objects.filter(organisation=self.choice.organisation).select_related("team")
        rows = rows.filter(state="open") if show == "open" else rows.filter(requester_id=person) if show == "mine" else rows
        may_ask = self.choice.may("key.request")
        listing = listing_build(
            request.GET,
            label="requests",
            columns=COLUMNS,
            rows=rows,
            default_sort="-asked",
            nothing_yet=Empty(
                "nothing-yet",
                {"open": "Nothing waits", "mine": "You asked for nothing yet", "all": "Nobody asked for a key yet"}[show],
                "Members of a team make keys inside its bounds by themselves, and ask its managers for others.",
                reverse("keys:ask") if may_ask else "",
                "Ask for a key" if may_ask else "",
            ),
            chips=[Chip("Shown", SHOWN[show], "show")] if show != "open" else [],
        )
        if request.GET.get("format") == "csv":
            return listing.csv("bulkhead-key-requests.csv")
        context = {
            "choice": self.choice,
            "listing": listing,
            "rows": [(row, choices.REQUEST_STATES[row.state]) for row in listing.rows],
            "tabs": keys_tabs("keys:requests"),
            "shown": [(value, label, value == show) for value, label in SHOWN.items()],
            "waiting": list(handovers.handovers_open(organisation=self.choice.organisation, person_id=person)[:10]),
            "may_ask": may_ask,
        }
        return render(request, "keys/requests.html", context)


class RequestMixin(ScopedView):
    """A view of one request of the chosen organisation."""

    def subject(self) -> KeyRequest:
        """The request with its team. Raises Http404."""
        rows = KeyRequest.objects.select_related("team", "organisation", "key", "handover")
        found = rows.filter(organisation=self.choice.organisation, pk=self.kwargs["asking_id"]).first()
        if found is None:
            raise Http404
        return found


class RequestView(RequestMixin):
    """``/keys/requests/<id>/``: what was asked for, why it needs consent, what was decided; the secret for whoever asked."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "key.view"

    def get(self, request: HttpRequest, asking_id: UUID) -> HttpResponseBase:
        row = self.subject()
        mine = row.requester_id == str(request.user.pk)
        handover = getattr(row, "handover", None)
        now = datetime.now(UTC)
        context = {
            "choice": self.choice,
            "row": row,
            "state": choices.REQUEST_STATES[row.state],
            "wish": wishes.of_json(row.name, row.facts),
            "limits": list(wishes.limit_words(row.facts["limits"])),
            "mine": mine,
            "may_decide": row.state == "open" and not mine and self.choice.may("key.approve", team=row.team_id),
            "may_withdraw": row.state == "open" and mine,
            "handover": handover if mine and handover is not None and handover.sealed and handover.expires_at > now else None,
            "fetched": handover.fetched_at if handover is not None else None,
            "crumbs": [("Keys", reverse("keys:list")), ("Requests", reverse("keys:requests"))],
        }
        return render(request, "keys/request.html", context)


class DecideView(RequestMixin, ActionView):
    """One decision about one request."""

    reversible = False

    def done_url(self) -> str:
        return reverse("keys:request", args=[self.kwargs["asking_id"]])


class ApproveView(DecideView):
    """POST ``/keys/requests/<id>/approve/``: makes the key."""

    permission = "key.approve"
    reason_required = False

    def change(self, reason: str) -> KeyRequest:
        return request_services.key_request_approve(actor=self.actor, request=self.object, reason=reason)

    def done_message(self, result: KeyRequest) -> str:
        return f"Key {result.name} made: its secret waits for {result.requester_email}."


class RejectView(DecideView):
    """POST ``/keys/requests/<id>/reject/``."""

    permission = "key.approve"

    def change(self, reason: str) -> KeyRequest:
        return request_services.key_request_reject(actor=self.actor, request=self.object, reason=reason)

    def done_message(self, result: KeyRequest) -> str:
        return f"Rejected: {result.requester_email} is told why."


class WithdrawView(DecideView):
    """POST ``/keys/requests/<id>/withdraw/``: by whoever asked."""

    permission = "key.view"
    reason_required = False

    def change(self, reason: str) -> KeyRequest:
        return request_services.key_request_withdraw(actor=self.actor, request=self.object, reason=reason)

    def done_message(self, result: KeyRequest) -> str:
        return "Taken back."


class HandoverView(ScopedView):
    """``/keys/secrets/<id>/``: secrets that wait for this person. POST gives them, once: one on a page, many as CSV."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "key.view"

    def subject(self) -> KeyHandover:
        """Raises Http404, also for whom it is not."""
        rows = KeyHandover.objects.filter(organisation=self.choice.organisation, person_id=str(self.request.user.pk))
        found = rows.filter(pk=self.kwargs["handover_id"]).first()
        if found is None:
            raise Http404
        return found

    def get(self, request: HttpRequest, handover_id: UUID) -> HttpResponseBase:
        row = self.subject()
        context = {
            "choice": self.choice,
            "row": row,
            "there": bool(row.sealed) and row.expires_at > datetime.now(UTC),
            "crumbs": [("Keys", reverse("keys:list")), ("Requests", reverse("keys:requests"))],
        }
        return render(request, "keys/handover.html", context)

    def post(self, request: HttpRequest, handover_id: UUID) -> HttpResponseBase:
        row = self.subject()
        try:
            secrets = handovers.handover_fetch(actor=self.actor, handover=row)
        except ServiceError as error:
            toast(request, error.message[:1].upper() + error.message[1:], tone="bad")
            return redirect("keys:handover", handover_id=row.pk)
        if len(secrets) == 1:
            key = VirtualKey.objects.filter(organisation=self.choice.organisation, pk=secrets[0].key_id).first()
            if key is not None:
                return secret_page(request, self.choice, key, secrets[0].token, since=datetime.now(UTC))
        response = HttpResponse(content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="bulkhead-new-keys.csv"'
        writer = csv.writer(response)
        writer.writerow(("name", "public_id", "secret"))
        writer.writerows((secret.name, secret.public_id, secret.token) for secret in secrets)
        return unstored(response)
