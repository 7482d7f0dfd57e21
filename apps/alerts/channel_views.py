"""Pages of telling: channels with their test, policies with their ladders, and the log of every delivery."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone as clock

from apps.accounts.pages import refusal_text
from apps.alerts import channel_checks as checks
from apps.alerts import channel_choices as choices
from apps.alerts import channel_services, policy_services
from apps.alerts.channel_forms import ChannelForm, PolicyForm
from apps.alerts.channel_models import AlertChannel, Delivery, NotificationPolicy
from apps.alerts.deliveries import delivery_again, delivery_send
from apps.alerts.rule_forms import labels_written
from apps.alerts.tables import deliveries_list
from apps.alerts.views import frame
from apps.ownership.checks import clock_written, days_written
from apps.ownership.selectors import teams
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.ui.toasts import toast

MINE, EVERYBODYS = "me", ""


class ChannelsView(ScopedView):
    """``/alerts/channels/``: every channel with its last delivery."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "alert.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        rows = AlertChannel.objects.filter(organisation=self.choice.organisation).select_related("team", "person").order_by("name")
        last = Delivery.objects.filter(channel__in=[row.pk for row in rows]).order_by("channel_id", "-created_at").distinct("channel_id")
        known = {row.channel_id: row for row in last}
        context = frame(self.choice, "channels") | {
            "rows": [Row(row, known.get(row.pk), may_change(self, row)) for row in rows],
            "may_add": self.choice.may("alert_channel.change") or self.choice.may("alert_channel.own"),
        }
        return render(request, "alerts/channels.html", context)


class Row:
    """A channel as the list shows it."""

    def __init__(self, channel: AlertChannel, last: Delivery | None, may_change: bool) -> None:
        self.channel, self.last, self.may_change, self.id = channel, last, may_change, str(channel.pk)
        self.kind = choices.KINDS[channel.kind]
        self.state = choices.STATES[last.state] if last else None


def may_change(view: ScopedView, row: AlertChannel) -> bool:
    """Whether the person of a request may change and test a channel."""
    if row.person_id is not None:
        return row.person_id == view.request.user.pk and view.choice.may("alert_channel.own")
    if row.team_id is not None:
        return view.choice.may("alert_channel.change", team=row.team_id)
    return view.choice.role.value in ("admin", "manager")


class OneChannel(ScopedView):
    """A view of one channel of the chosen organisation."""

    def subject(self) -> Any:
        """Raises Http404."""
        rows = AlertChannel.objects.select_related("organisation", "team", "person")
        row = rows.filter(organisation=self.choice.organisation, pk=self.kwargs["channel_id"]).first()
        if row is None:
            raise Http404("There is no such channel.")
        return row


class ChannelEditView(EditView):
    """What adding and changing have in common."""

    form_class = ChannelForm
    permission = "alert_channel.own"
    kind = "alert_channel"
    reversible: ClassVar[bool] = False

    def form_kwargs(self) -> dict[str, Any]:
        return {"whose": self._whose(), "fixed": self.object is not None}

    def _whose(self) -> list[tuple[str, str]]:
        found = [(MINE, "My own")]
        if self.choice.may("alert_channel.change"):
            found = [(EVERYBODYS, "The organisation's"), *found]
            found += [(str(team.pk), team.name) for team in teams(organisation=self.choice.organisation)]
        if self.object is not None and self.initial()["whose"] not in dict(found):
            found.append((self.initial()["whose"], "Somebody else's"))
        return found

    def title(self) -> str:
        return "New channel" if self.object is None else f"Edit {self.object}"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Alerts", reverse("alerts:list")), ("Channels", reverse("alerts:channels"))]

    def cancel_url(self) -> str:
        return reverse("alerts:channels")

    def done_url(self, result: Any) -> str:
        return reverse("alerts:channels")

    def done_message(self, result: AlertChannel) -> str:
        return f"Channel {result.name} saved. Send a test page to see that it works."

    def field_of(self, name: str | None, form: Any) -> str | None:
        return super().field_of("whose" if name in ("team", "person") else name, form)


class ChannelCreateView(ChannelEditView):
    """``/alerts/channels/new/``; ``?whose=me`` for one's own."""

    def initial(self) -> dict[str, Any]:
        own = self.request.GET.get("whose") == MINE or not self.choice.may("alert_channel.change")
        return {"whose": MINE if own else EVERYBODYS, "kind": choices.EMAIL, "enabled": True}

    def change(self, form: Any) -> AlertChannel:
        facts = dict(form.cleaned_data)
        whose = facts.pop("whose")
        team = None if whose in (MINE, EVERYBODYS) else teams(organisation=self.choice.organisation).filter(pk=whose).first()
        person = self.request.user if whose == MINE else None
        row, _ = channel_services.channel_create(
            actor=self.actor,
            organisation=self.choice.organisation,
            team=team,
            person=person,  # type: ignore[arg-type]
            reason=self.reason,
            **facts,
        )
        return row


class ChannelUpdateView(OneChannel, ChannelEditView):
    """``/alerts/channels/<id>/edit/``."""

    def initial(self) -> dict[str, Any]:
        row: AlertChannel = self.object
        whose = MINE if row.person_id == self.request.user.pk else str(row.person_id or row.team_id or "")
        return {"name": row.name, "kind": row.kind, "whose": whose, "allow_private": row.allow_private, "enabled": row.enabled}

    def change(self, form: Any) -> AlertChannel:
        facts = {name: form.cleaned_data[name] for name in ("address", "secret", "allow_private", "enabled")}
        return channel_services.channel_update(actor=self.actor, channel=self.object, reason=self.reason, **facts)


class ChannelDeleteView(OneChannel, ActionView):
    """POST ``/alerts/channels/<id>/delete/``."""

    permission = "alert_channel.own"
    reversible: ClassVar[bool] = False

    def change(self, reason: str) -> AlertChannel:
        row: AlertChannel = self.object
        channel_services.channel_delete(actor=self.actor, channel=row, reason=reason)
        return row

    def done_url(self) -> str:
        return reverse("alerts:channels")

    def done_message(self, result: AlertChannel) -> str:
        return f"Channel {result.name} deleted."


class ChannelTestView(OneChannel):
    """POST ``/alerts/channels/<id>/test/``: sends a test page and says at once what became of it."""

    http_method_names: ClassVar[list[str]] = ["post"]
    permission = "alert_channel.own"

    def post(self, request: HttpRequest, channel_id: object) -> HttpResponseBase:
        row = self.subject()
        try:
            delivery = channel_services.channel_test(actor=self.actor, channel=row)
        except Exception as error:
            toast(request, refusal_text(error)[0], tone="bad")
            return redirect("alerts:channels")
        state = delivery_send(delivery.pk)
        delivery.refresh_from_db()
        said = f" ({delivery.told})" if delivery.told else ""
        if state == choices.SENT:
            toast(request, f"{row.name} took the test{said}.")
        else:
            again = " It is tried again by itself." if state == choices.WAITING else ""
            toast(request, f"{row.name}: {choices.STATES[delivery.state].label.lower()}{said}.{again}", tone="bad")
        return redirect("alerts:channels")


class RoutingView(ScopedView):
    """``/alerts/routing/``: the policies in their order, and what holds where none does."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "alert.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        rows = NotificationPolicy.objects.filter(organisation=self.choice.organisation).select_related("team")
        rows = rows.prefetch_related("steps__channel", "steps__rotation").order_by("position", "name")
        context = frame(self.choice, "routing") | {
            "rows": [PolicyRow(row) for row in rows],
            "built_in": BUILT_IN_WORDS,
            "may_add": self.choice.may("notification_policy.change"),
        }
        return render(request, "alerts/routing.html", context)


class PolicyRow:
    """A policy as the list shows it."""

    def __init__(self, row: NotificationPolicy) -> None:
        self.row, self.id = row, str(row.pk)
        self.labels = ", ".join(f"{name} = {value}" for name, value in row.labels.items())
        self.hours = hours_words(row)
        self.steps = [
            step_words(step.after_minutes, step.target, getattr(step.channel or step.rotation, "name", "")) for step in row.steps.all()
        ]


def step_words(minutes: int, target: str, name: str) -> str:
    """``after 10 min: whoever is on call next``."""
    what = f"channel {name}" if target == choices.CHANNEL else choices.TARGETS[target].lower() + (f" of {name}" if name else "")
    return f"{'at once' if not minutes else f'after {minutes} min'}: {what}"


BUILT_IN_WORDS = (
    step_words(0, choices.ON_CALL, ""),
    step_words(10, choices.NEXT, ""),
    step_words(10, choices.CONTACTS, ""),
    step_words(20, choices.LEADS, ""),
)


def hours_words(row: NotificationPolicy) -> str:
    """When warnings are told; empty for always."""
    if (row.days, row.from_minute, row.to_minute) == (127, 0, 1440):
        return ""
    return f"{days_written(row.days) or 'every day'}, {clock_written(row.from_minute)} to {clock_written(row.to_minute)} ({row.zone})"


class OnePolicy(ScopedView):
    """A view of one policy of the chosen organisation."""

    def subject(self) -> Any:
        """Raises Http404."""
        rows = NotificationPolicy.objects.select_related("organisation", "team")
        row = rows.filter(organisation=self.choice.organisation, pk=self.kwargs["policy_id"]).first()
        if row is None:
            raise Http404("There is no such policy.")
        return row


class PolicyEditView(EditView):
    """What adding and changing have in common."""

    form_class = PolicyForm
    permission = "notification_policy.change"
    kind = "notification_policy"
    reversible: ClassVar[bool] = False

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation, "fixed": self.object is not None}

    def change(self, form: Any) -> NotificationPolicy:
        facts = form.facts()
        return policy_services.policy_set(actor=self.actor, organisation=self.choice.organisation, reason=self.reason, **facts)

    def title(self) -> str:
        return "New policy" if self.object is None else f"Edit {self.object}"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Alerts", reverse("alerts:list")), ("Routing", reverse("alerts:routing"))]

    def cancel_url(self) -> str:
        return reverse("alerts:routing")

    def done_url(self, result: Any) -> str:
        return reverse("alerts:routing")

    def done_message(self, result: NotificationPolicy) -> str:
        return f"Policy {result.name} saved: it holds for what fires from now on."

    def field_of(self, name: str | None, form: Any) -> str | None:
        return super().field_of({"from_minute": "from_time", "to_minute": "to_time"}.get(name or "", name), form)


class PolicyCreateView(PolicyEditView):
    """``/alerts/routing/new/``."""

    def change(self, form: Any) -> NotificationPolicy:
        name = form.cleaned_data["name"]
        if NotificationPolicy.objects.filter(organisation=self.choice.organisation, name=name).exists():
            raise checks.ServiceError(f"There is a policy {name!r} already: edit that one, or choose another short name.", "name")
        return super().change(form)


class PolicyUpdateView(OnePolicy, PolicyEditView):
    """``/alerts/routing/<id>/edit/``."""

    def initial(self) -> dict[str, Any]:
        row: NotificationPolicy = self.object
        return {
            **{name: getattr(row, name) for name in ("name", "severity", "repeat_minutes", "group_wait_s", "zone", "position", "enabled")},
            "team": str(row.team_id or ""),
            "labels": labels_written(row.labels),
            "steps": "\n".join(checks.step_written(step) for step in policy_services.steps_of(row)),
            "days": days_written(row.days),
            "from_time": clock_written(row.from_minute),
            "to_time": clock_written(row.to_minute),
        }


class PolicyDeleteView(OnePolicy, ActionView):
    """POST ``/alerts/routing/<id>/delete/``."""

    permission = "notification_policy.change"
    reversible: ClassVar[bool] = False

    def change(self, reason: str) -> NotificationPolicy:
        row: NotificationPolicy = self.object
        policy_services.policy_delete(actor=self.actor, policy=row, reason=reason)
        return row

    def done_url(self) -> str:
        return reverse("alerts:routing")

    def done_message(self, result: NotificationPolicy) -> str:
        return f"Policy {result.name} deleted."


class DeliveriesView(ScopedView):
    """``/alerts/deliveries/``: every message to somebody, and what became of it. CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "alert.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = deliveries_list(self.choice, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-deliveries.csv")
        context = frame(self.choice, "deliveries") | {
            "listing": listing,
            "rows": [(row, choices.STATES[row.state], choices.WHATS[row.what]) for row in listing.rows],
            "states": choices.STATES.values(),
            "may_again": self.choice.may("alert.acknowledge"),
            "now": clock.now(),
        }
        return render(request, "alerts/deliveries.html", context)


class DeliveryAgainView(ActionView):
    """POST ``/alerts/deliveries/<id>/again/``."""

    permission = "alert.acknowledge"
    reason_required: ClassVar[bool] = False
    reversible: ClassVar[bool] = False

    def subject(self) -> Delivery:
        rows = Delivery.objects.select_related("organisation", "channel", "notification")
        row = rows.filter(organisation=self.choice.organisation, pk=self.kwargs["delivery_id"]).first()
        if row is None:
            raise Http404("There is no such delivery.")
        return row

    def change(self, reason: str) -> Delivery:
        delivery_again(actor=self.actor, delivery=self.object, reason=reason)
        return self.object

    def done_url(self) -> str:
        return reverse("alerts:deliveries")

    def done_message(self, result: Delivery) -> str:
        return f"{result.name} is told again within seconds."
