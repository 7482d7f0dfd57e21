"""Pages of keys. Reading is in ``tables`` and ``detail``, deciding in ``services``; the editing flow is ``apps.publishing.editing``.

A secret is shown in the answer to the POST that made it and nowhere else: it is in no URL, no session, no log and no table, the
page is never stored by a browser, and to send the form again leads to the key's page without it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from apps.audit.errors import ServiceError
from apps.keys import choices, holders, selectors, services
from apps.keys.detail import TABS, KeyDetail
from apps.keys.forms import MOST_BOXES, KeyForm, RotateForm
from apps.keys.models import VirtualKey
from apps.keys.neighbours import routes_known
from apps.keys.secret_page import secret_page
from apps.keys.self_service_forms import CreateForm
from apps.keys.services import team_of
from apps.keys.tables import keys_list, keys_tabs
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.publishing.trail import trail
from apps.ui.fragments import tagged
from apps.ui.timerange import PRESETS, from_query
from apps.usage.recency import first_request

NO_TEAM = UUID(int=0)
"""Of a key that no team owns: a role in a team says nothing about it."""
WAITED_FOR = timedelta(days=1)
"""How far back a page that waits for a first request looks at most."""


class ListView(ScopedView):
    """``/keys/``: every key of the organisation, with its use and its budgets; CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "key.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        time_range = from_query(request.GET)
        csv = request.GET.get("format") == "csv"
        listing = keys_list(self.choice, time_range, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-keys.csv")
        context = {"choice": self.choice, "listing": listing, "range": time_range, "presets": PRESETS, "states": choices.STATES.values()}
        may = self.choice.may
        context |= {"environments": choices.ENVIRONMENTS, "may_create": may("key.change"), "tabs": keys_tabs("keys:list")}
        context |= {"may_ask": may("key.request") and not may("key.change"), "may_import": may("key.import")}
        return render(request, "keys/list.html", context)


class KeyView(ScopedView):
    """A view of one key of the chosen organisation."""

    def subject(self) -> VirtualKey:
        """The key with its owners. Raises Http404."""
        key = selectors.key_get(self.choice.organisation, self.kwargs["key_id"])
        if key is None:
            raise Http404
        return key

    @property
    def url(self) -> str:
        return reverse("keys:detail", args=[self.kwargs["key_id"]])


class DetailView(KeyView):
    """``/keys/<id>/``: one key; ``?tab=`` shows its routes, first calls or its history. htmx gets the live part."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "key.view"

    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponseBase:
        detail = KeyDetail(self.choice, self.subject(), from_query(request.GET))
        context: dict[str, Any] = {"choice": self.choice, "detail": detail, "key": detail.key, "range": detail.range}
        if request.htmx:  # type: ignore[attr-defined]
            return tagged(request, render(request, "keys/use.html", context))
        shown = [(value, label) for value, label in TABS if value != "history" or self.choice.may("audit.view")]
        tab = request.GET.get("tab", "")
        tab = tab if tab in dict(shown) else "use"
        may, team = self.choice.may, team_of(detail.key) or NO_TEAM
        context |= {
            "presets": PRESETS,
            "tab": tab,
            "tabs": [(label, self.url if value == "use" else f"{self.url}?tab={value}", value == tab, None) for value, label in shown],
            "may_change": may("key.change", team=team) and not detail.revoked,
            "may_play": may("playground.use", team=team) and not detail.revoked,
            "may_revoke": may("key.revoke", team=team) and not detail.revoked,
            "since": _since(detail.key.created_at),
        }
        context["may_rotate"] = context["may_change"]
        if detail.key.holder_id == str(request.user.pk) and not detail.revoked and not (context["may_rotate"] and context["may_revoke"]):
            own = not holders.outgrown_by(detail.key, team_of(detail.key))
            context["may_rotate"] |= own and may("own_key.rotate", team=team)
            context["may_revoke"] |= own and may("own_key.revoke", team=team)
        if tab == "history":
            context["entries"] = trail(detail.events)
        return render(request, "keys/detail.html", context)


class FirstRequestView(KeyView):
    """``/keys/<id>/first/?since=``: whether a request came with the key since a moment; polled until one did."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "key.view"

    def get(self, request: HttpRequest, key_id: UUID) -> HttpResponseBase:
        if not request.htmx:  # type: ignore[attr-defined]
            return redirect(f"{self.url}?tab=connect")
        key, since = self.subject(), request.GET.get("since", "")
        valid = since.isascii() and since.isdigit() and len(since) < 15
        start = datetime.fromtimestamp(int(since) / 1000, UTC) if valid else key.created_at
        context = {"key": key, "first": first_request(str(key.pk), since=start), "since": since if valid else _since(start)}
        return tagged(request, render(request, "keys/first_request.html", context))


def _since(moment: datetime) -> str:
    """A moment for the URL of ``FirstRequestView``, in milliseconds; not further back than anybody waits."""
    return str(int(max(moment, datetime.now(UTC) - WAITED_FOR).timestamp() * 1000))


class IssuingView(EditView):
    """An edit whose publishing makes a secret: the answer to that one POST shows it, instead of going on to another page."""

    kind = "key"
    issued: tuple[VirtualKey, str] | None = None
    """What ``change`` made last; a preview's was rolled back and is never shown."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        asked = datetime.now(UTC)
        response = super().post(request, *args, **kwargs)
        if response.status_code != 302 or "publish" not in request.POST or self.issued is None:
            return response
        key, token = self.issued
        return secret_page(request, self.choice, key, token, since=asked, replaced=self.object is not None)

    def done_url(self, result: tuple[VirtualKey, str]) -> str:
        return reverse("keys:detail", args=[result[0].pk])


class CreateView(IssuingView):
    """``/keys/new/``."""

    form_class = CreateForm
    permission = "key.create"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not self.choice.may("key.change"):  # whoever makes keys inside bounds only has a page that knows them
            return redirect("keys:ask")
        return super().get(request, *args, **kwargs)

    def initial(self) -> dict[str, Any]:
        return {"environment": "production", "all_routes": True, "budget_window": "month"}

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation, "known": routes_known(self.choice.organisation, most=MOST_BOXES + 1)}

    def change(self, form: Any) -> tuple[VirtualKey, str]:
        self.issued = services.key_create(
            actor=self.actor, organisation=self.choice.organisation, name=form.cleaned_data["name"], reason=self.reason, **form.facts()
        )
        return self.issued

    def done_message(self, result: tuple[VirtualKey, str]) -> str:
        return f"Key {result[0].name} created."

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Keys", reverse("keys:list"))]

    def cancel_url(self) -> str:
        return reverse("keys:list")


class OneKeyMixin(KeyView):
    """What views that change one key have in common: a revoked one is not found to be changed."""

    def subject(self) -> VirtualKey:
        key = KeyView.subject(self)
        if key.state == "revoked":
            raise Http404
        return key

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Keys", reverse("keys:list")), (self.object.name, self.url)]  # type: ignore[attr-defined]

    def cancel_url(self) -> str:
        return self.url


class UpdateView(OneKeyMixin, EditView):
    """``/keys/<id>/edit/``."""

    form_class = KeyForm
    permission = "key.change"
    kind = "key"

    def initial(self) -> dict[str, Any]:
        key: VirtualKey = self.object
        everything = choices.ALL_ROUTES in key.routes
        return {
            "name": key.name,
            "environment": key.environment,
            "service": f"service:{key.service_id}" if key.service_id else f"team:{key.team_id}" if key.team_id else "",
            "all_routes": everything,
            "routes": [] if everything else list(key.routes),
            "feature": key.feature,
            "tags": ", ".join(key.tags),
            "expires_at": key.expires_at,
            "priority": key.priority,
            "explain": key.explain,
            "addresses": ", ".join(key.addresses),
        }

    def form_kwargs(self) -> dict[str, Any]:
        kept = [name for name in self.object.routes if name != choices.ALL_ROUTES]
        return {
            "organisation": self.choice.organisation,
            "known": routes_known(self.choice.organisation, most=MOST_BOXES + 1),
            "kept": kept,
            "fixed_name": True,
        }

    def change(self, form: Any) -> VirtualKey:
        return services.key_update(actor=self.actor, key=self.object, reason=self.reason, **form.facts())

    def done_url(self, result: VirtualKey) -> str:
        return self.url

    def done_message(self, result: VirtualKey) -> str:
        return f"Key {result.name} saved."


class RotateView(OneKeyMixin, IssuingView):
    """``/keys/<id>/rotate/``: a new secret; the old one stays valid until a chosen time. Also for whoever holds the present one."""

    form_class = RotateForm
    permission = "own_key.rotate"

    def title(self) -> str:
        return f"Replace the secret of {self.object.name}"

    def change(self, form: Any) -> tuple[VirtualKey, str]:
        until = form.until(datetime.now(UTC))
        self.issued = services.key_rotate(actor=self.actor, key=self.object, old_until=until, reason=self.reason)
        return self.issued

    def done_message(self, result: tuple[VirtualKey, str]) -> str:
        return f"Key {result[0].name} has a new secret."


class KeyActionView(OneKeyMixin, ActionView):
    """One act on one key."""

    permission = "key.change"
    reversible = False  # keys are never rolled back; the page itself offers the way back

    def done_url(self) -> str:
        return self.url


class DisableView(KeyActionView):
    """POST ``/keys/<id>/disable/``."""

    def change(self, reason: str) -> VirtualKey:
        return services.key_disable(actor=self.actor, key=self.object, reason=reason)

    def done_message(self, result: VirtualKey) -> str:
        return f"Key {result.name} disabled: its requests get key_disabled."


class EnableView(KeyActionView):
    """POST ``/keys/<id>/enable/``."""

    reason_required = False

    def change(self, reason: str) -> VirtualKey:
        return services.key_enable(actor=self.actor, key=self.object, reason=reason)

    def done_message(self, result: VirtualKey) -> str:
        return f"Key {result.name} enabled."


class RevokeView(KeyActionView):
    """POST ``/keys/<id>/revoke/``: for good, so the name is typed. Also for whoever holds its secret."""

    permission = "own_key.revoke"

    def change(self, reason: str) -> VirtualKey:
        if self.request.POST.get("confirmation", "") != self.object.name:
            raise ServiceError(f"Type the key's name, {self.object.name}, to revoke it: this cannot be undone.", "confirmation")
        return services.key_revoke(actor=self.actor, key=self.object, reason=reason)

    def done_message(self, result: VirtualKey) -> str:
        return f"Key {result.name} revoked for good."
