"""Pages of routes. Reading is in ``tables`` and ``detail``, deciding in ``services``; the editing flow is ``apps.publishing.editing``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse

from apps.audit.errors import ServiceError
from apps.contracts.snapshot import Deadlines
from apps.providers.selectors import models_of
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.publishing.preview import Preview
from apps.publishing.selectors import fleet_status_of, head_number, proxy_details, spread_of
from apps.publishing.trail import trail
from apps.routes import breakers, choices, selectors, services
from apps.routes.detail import KEYS, TABS, RouteDetail
from apps.routes.forms import RouteForm, chain_rows, reshaped
from apps.routes.model_warnings import model_warnings
from apps.routes.models import Route
from apps.routes.resilience import TargetSpec
from apps.routes.resilience_form import resilience_initial, seconds_text
from apps.routes.standing import route_standing
from apps.routes.tables import routes_list
from apps.ui.fragments import tagged
from apps.ui.timerange import PRESETS, from_query

SWITCH_LENGTHS: tuple[tuple[str, str], ...] = (
    ("", "until somebody switches back"),
    ("15", "for 15 minutes"),
    ("60", "for 1 hour"),
    ("240", "for 4 hours"),
    ("1440", "for 24 hours"),
)
"""Minutes a switch may last by itself, and how a page says it."""


class ListView(ScopedView):
    """``/routes/``: every route of the organisation, with its traffic; CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "route.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        time_range = from_query(request.GET)
        csv = request.GET.get("format") == "csv"
        listing = routes_list(self.choice, time_range, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-routes.csv")
        context = {"choice": self.choice, "listing": listing, "range": time_range, "presets": PRESETS, "states": choices.STATES.values()}
        context["may_change"] = self.choice.may("route.change")
        return render(request, "routes/list.html", context)


ACTS = {"change": "route.change", "switch": "route.switch", "force": "breaker.force", "play": "playground.use"}
"""What a route's page offers, by the name of its template's ``may_...``."""


class RouteView(ScopedView):
    """A view of one route of the chosen organisation."""

    def subject(self) -> Route:
        """The route with its parts. Raises Http404."""
        route = selectors.route_get(self.choice.organisation, self.kwargs["route_id"])
        if route is None:
            raise Http404
        return route

    @property
    def url(self) -> str:
        return reverse("routes:detail", args=[self.kwargs["route_id"]])


class DetailView(RouteView):
    """``/routes/<id>/``: one route; ``?tab=`` shows its keys, its config or its history. htmx gets the live part of a tab."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "route.view"

    def get(self, request: HttpRequest, route_id: UUID) -> HttpResponseBase:
        alone = bool(request.htmx)  # type: ignore[attr-defined]
        heard = proxy_details() if alone else [proxy["detail"] for proxy in fleet_status_of(request)["proxies"]]
        detail = RouteDetail(self.choice, self.subject(), from_query(request.GET), heard=heard, judged=not alone)
        context: dict[str, Any] = {"choice": self.choice, "detail": detail, "route": detail.route, "range": detail.range}
        context |= {f"may_{verb}": self.choice.may(action) for verb, action in ACTS.items()}
        if alone:
            return tagged(request, render(request, "routes/traffic.html", context))
        shown = [(value, label) for value, label in TABS if value != "history" or self.choice.may("audit.view")]
        tab = request.GET.get("tab", "")
        tab = tab if tab in dict(shown) else "traffic"
        context |= {
            "presets": PRESETS,
            "tab": tab,
            "tabs": [(label, self.url if value == "traffic" else f"{self.url}?tab={value}", value == tab, None) for value, label in shown],
            "switch_lengths": SWITCH_LENGTHS,
            "published": _published(request),
            "keys_shown": KEYS,
        }
        if tab == "history":
            context["entries"] = trail(detail.events)
        return render(request, "routes/detail.html", context)


class StandingView(RouteView):
    """``/routes/<id>/standing/``: what it costs and the verdict of its performance budgets: a panel of its page that asks for itself."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "route.view"

    def get(self, request: HttpRequest, route_id: UUID) -> HttpResponseBase:
        route = self.subject()
        context: dict[str, Any] = {"choice": self.choice, "route": route, "standing": route_standing(self.choice, route)}
        context |= {"url": request.path, "may_budget": self.choice.may("performance_budget.change")}
        alone = bool(request.htmx)  # type: ignore[attr-defined]
        context |= {"fragment": alone, "layout": "ui/fragment.html" if alone else "ui/base.html"}
        response = render(request, "routes/standing.html", context)
        return tagged(request, response) if alone else response


class SpreadView(RouteView):
    """``/routes/<id>/spread/?version=``: how many proxies run what was just published; polled until all do."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "route.view"

    def get(self, request: HttpRequest, route_id: UUID) -> HttpResponseBase:
        number = _published(request)
        if number is None or not request.htmx:  # type: ignore[attr-defined]
            return redirect(self.url)
        spread = spread_of(number)
        context = {"number": number, "applied": spread.applied, "total": spread.total, "url": self.url}
        return tagged(request, render(request, "routes/spread.html", context))


def _published(request: HttpRequest) -> int | None:
    """The version that was just published, of ``?version=``."""
    text = request.GET.get("version", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


class RouteEditView(EditView):
    """What creating and editing have in common: the form with its choices, and lists that are reshaped without being judged."""

    form_class = RouteForm
    permission = "route.change"
    kind = "route"
    template = "routes/edit.html"
    told: tuple[list[TargetSpec], int] = ([], 0)
    """Of the form that is reviewed: its targets and its output cap."""

    def form_kwargs(self) -> dict[str, Any]:
        organisation = self.choice.organisation
        places = selectors.places_of(organisation)
        return {"organisation": organisation, "places": places, "models": models_of(organisation), "fixed_name": self.object is not None}

    def reshape(self, data: QueryDict) -> QueryDict | None:
        return reshaped(data)

    def field_of(self, name: str | None, form: Any) -> str | None:
        """Also for names as the contract has them, which say the unit, and for what lies deeper than the form's fields."""
        while name:
            found = super().field_of(name.removesuffix("_ms"), form)
            if found is not None:
                return found
            name = name.rpartition(".")[0]
        return None

    def preview(self, form: Any) -> Preview[Any]:
        facts = form.facts()
        self.told = ([*facts["targets"], *facts["fallback"]], facts["max_output_tokens"])
        return super().preview(form)

    def context(self) -> dict[str, Any]:
        specs, cap = self.told
        if not specs and self.object is not None:
            route: Route = self.object
            specs = [*selectors.target_specs(route), *selectors.target_specs(route, choices.FALLBACK)]
            cap = route.max_output_tokens
        return {"model_warnings": model_warnings(self.choice.organisation, specs, max_output_tokens=cap) if specs else []}

    def done_url(self, result: Route) -> str:
        return f"{reverse('routes:detail', args=[result.pk])}?version={head_number()}"

    def crumbs(self) -> list[tuple[str, str]]:
        above = [("Routes", reverse("routes:list"))]
        return above if self.object is None else [*above, (self.object.name, reverse("routes:detail", args=[self.object.pk]))]


class CreateView(RouteEditView):
    """``/routes/new/``."""

    def initial(self) -> dict[str, Any]:
        return {"unpriced": "refuse"}

    def change(self, form: Any) -> Route:
        organisation, name = self.choice.organisation, form.cleaned_data["name"]
        return services.route_create(actor=self.actor, organisation=organisation, name=name, reason=self.reason, **form.facts())

    def done_message(self, result: Route) -> str:
        return f"Route {result.name} created."

    def cancel_url(self) -> str:
        return reverse("routes:list")


class UpdateView(RouteEditView):
    """``/routes/<id>/edit/``."""

    def subject(self) -> Route:
        route = selectors.route_get(self.choice.organisation, self.kwargs["route_id"])
        if route is None:
            raise Http404
        return route

    def initial(self) -> dict[str, Any]:
        route: Route = self.object
        deadlines: Deadlines = selectors.deadlines(route)
        return {
            "name": route.name,
            "targets": chain_rows(selectors.target_specs(route)),
            "fallback": chain_rows(selectors.target_specs(route, choices.FALLBACK)),
            "aliases": ", ".join(selectors.aliases(route)),
            "owner": route.owner_id,
            "runbook": route.runbook,
            "max_attempts": route.max_attempts,
            "max_output_tokens": route.max_output_tokens,
            "unpriced": route.unpriced,
            "default_price": route.default_price,
            **resilience_initial(selectors.resilience(route)),
            **{f"deadlines_{name}": seconds_text(getattr(deadlines, f"{name}_ms")) for name in ("connect", "first_byte", "idle", "total")},
        }

    def change(self, form: Any) -> Route:
        return services.route_update(actor=self.actor, route=self.object, reason=self.reason, **form.facts())

    def done_message(self, result: Route) -> str:
        return f"Route {result.name} saved."

    def cancel_url(self) -> str:
        return reverse("routes:detail", args=[self.object.pk])


class RouteActionView(ActionView, RouteView):
    """One act on one route; afterwards its page shows how far the new version has come."""

    permission = "route.change"

    def subject(self) -> Route:
        return RouteView.subject(self)

    def done_url(self) -> str:
        return f"{self.url}?version={head_number()}" if getattr(self, "done", False) else self.url

    def sent_target(self) -> TargetSpec:
        """The target that a dialog was about: its place in the chain and its text, as shown. Raises ServiceError."""
        number, _, label = self.request.POST.get("target", "").partition(":")
        specs = selectors.target_specs(self.object)
        spec = specs[int(number)] if number.isascii() and number.isdigit() and int(number) < len(specs) else None
        if spec is None or choices.target_text(spec) != label:
            raise ServiceError("The targets of this route changed meanwhile: look at them again, then decide.", "target")
        return spec

    def sent_end(self) -> datetime | None:
        """When what a dialog asks for ends by itself; None: never. Raises ServiceError."""
        minutes = self.request.POST.get("minutes", "")
        if minutes not in dict(SWITCH_LENGTHS):
            raise ServiceError("Choose one of the offered lengths of time.", "until")
        return datetime.now(UTC) + timedelta(minutes=int(minutes)) if minutes else None


class DisableView(RouteActionView):
    """POST ``/routes/<id>/disable/``."""

    def change(self, reason: str) -> Route:
        self.done = True
        return services.route_disable(actor=self.actor, route=self.object, reason=reason)

    def done_message(self, result: Route) -> str:
        return f"Route {result.name} disabled: apps that name it get route_disabled."


class EnableView(RouteActionView):
    """POST ``/routes/<id>/enable/``."""

    reason_required = False

    def change(self, reason: str) -> Route:
        self.done = True
        return services.route_enable(actor=self.actor, route=self.object, reason=reason)

    def done_message(self, result: Route) -> str:
        return f"Route {result.name} enabled."


class SwitchView(RouteActionView):
    """POST ``/routes/<id>/switch/``: all traffic to one target. ``target``: its place in the chain and its text, as shown."""

    permission = "route.switch"

    def change(self, reason: str) -> Any:
        spec, until = self.sent_target(), self.sent_end()
        self.done = True
        failover = self.request.POST.get("failover") == "on"
        return services.route_switch(actor=self.actor, route=self.object, target=spec, reason=reason, until=until, failover=failover)

    def done_message(self, result: Any) -> str:
        return f"All {self.object.name} traffic goes to {result.provider.name}."


class BreakerForceView(RouteActionView):
    """POST ``/routes/<id>/breaker/``: hold a target's breaker. ``target`` as for a switch, ``state``: open or closed."""

    permission = "breaker.force"

    def change(self, reason: str) -> Any:
        spec, until, state = self.sent_target(), self.sent_end(), self.request.POST.get("state", "")
        self.done = True
        return breakers.breaker_force(actor=self.actor, route=self.object, target=spec, state=state, reason=reason, until=until)

    def done_message(self, result: Any) -> str:
        what = "Nothing is sent to" if result.state == "open" else "Requests go, whatever its failures, to"
        return f"{what} {choices.target_text(result.target)}."


class BreakerReleaseView(RouteActionView):
    """POST ``/routes/<id>/breaker/release/``: the breaker decides by itself again. ``target``: its text, as shown."""

    permission = "breaker.force"
    reason_required = False

    def change(self, reason: str) -> Route:
        text = self.request.POST.get("target", "")
        held = next((held for held in selectors.held_breakers(self.object) if choices.target_text(held.target) == text), None)
        self.done = True
        return (
            self.object
            if held is None
            else breakers.breaker_release(actor=self.actor, route=self.object, target=held.target, reason=reason)
        )

    def done_message(self, result: Route) -> str:
        return f"The breakers of {result.name} decide by themselves again."


class SwitchBackView(RouteActionView):
    """POST ``/routes/<id>/switch/back/``: its targets in order again."""

    permission = "route.switch"
    reason_required = False

    def change(self, reason: str) -> Route:
        self.done = True
        return services.route_switch_back(actor=self.actor, route=self.object, reason=reason)

    def done_message(self, result: Route) -> str:
        return f"Route {result.name} uses its targets in order again."
