"""The pages that change providers and prices: forms with a review before publishing, and acts from dialogs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.urls import reverse

from apps.audit.errors import ServiceError
from apps.providers import listing, prices, rules, services
from apps.providers.checks import providers_check
from apps.providers.choices import CHECK_STATES
from apps.providers.forms import ProviderForm, endpoints_reshape, provider_initial
from apps.providers.models import Provider, ProviderModel
from apps.providers.price_form import PriceForm, price_initial
from apps.providers.rules import PriceSpec
from apps.providers.selectors import credentials_of, model_named
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.ui.toasts import toast


def _provider(view: ScopedView) -> Provider:
    """The provider that the address names. Raises Http404."""
    found = listing.provider_of(view.choice.organisation, view.kwargs["provider_id"])
    if found is None:
        raise Http404("There is no such provider in this organisation.")
    return found


def _url(name: str, provider: Provider) -> str:
    return reverse(f"providers:{name}", args=[provider.pk])


# --- providers -------------------------------------------------------------------------------------------------------------


class ProviderCreate(EditView):
    """``/providers/new/``: a provider written by hand, with as many endpoints as it has."""

    permission = "provider.change"
    kind = "provider"
    form_class = ProviderForm
    template = "providers/edit.html"

    def initial(self) -> dict[str, Any]:
        return {"kind": "openai", **provider_initial([])}

    def form_kwargs(self) -> dict[str, Any]:
        organisation = self.choice.organisation
        names = list(credentials_of(organisation).values_list("name", flat=True))
        return {"credentials": names, "new": self.object is None, "simulated": organisation.simulated}

    def reshape(self, data: QueryDict) -> QueryDict | None:
        return endpoints_reshape(data)

    def change(self, form: forms.Form) -> Provider:
        assert isinstance(form, ProviderForm)
        given, organisation = form.cleaned_data, self.choice.organisation
        if Provider.objects.filter(organisation=organisation, name=given["name"]).exists():
            raise ServiceError(f"there is a provider {given['name']!r} already: edit that one, or choose another name", "name")
        return services.provider_ensure(
            actor=self.actor,
            organisation=organisation,
            name=given["name"],
            kind=given["kind"],
            endpoints=form.endpoints,
            simulated=organisation.simulated or given.get("simulated", False),
            price_list=given["price_list"],
            allow_private_addresses=given["allow_private_addresses"],
            reason=self.reason,
        )

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Providers", reverse("providers:list"))]

    def done_url(self, result: Provider) -> str:
        return _url("detail", result)

    def done_message(self, result: Provider) -> str:
        return f"Provider {result.name} published"


class ProviderEdit(ProviderCreate):
    """``/providers/<id>/edit/``."""

    def subject(self) -> Provider:
        return _provider(self)

    def initial(self) -> dict[str, Any]:
        provider: Provider = self.object
        return {
            "kind": provider.kind,
            "price_list": provider.price_list,
            "allow_private_addresses": provider.allow_private_addresses,
            "simulated": provider.simulated,
            **provider_initial(services.endpoint_specs(provider)),
        }

    def change(self, form: forms.Form) -> Provider:
        assert isinstance(form, ProviderForm)
        given, provider = form.cleaned_data, self.object
        return services.provider_update(
            actor=self.actor,
            provider=provider,
            kind=given["kind"],
            endpoints=form.endpoints,
            simulated=provider.simulated if "simulated" not in form.fields else given["simulated"],
            price_list=given["price_list"],
            allow_private_addresses=given["allow_private_addresses"],
            reason=self.reason,
        )

    def crumbs(self) -> list[tuple[str, str]]:
        return [*super().crumbs(), (self.object.name, _url("detail", self.object))]


class ProviderAct(ActionView):
    """Something done to one provider from a dialog."""

    permission = "provider.change"

    def subject(self) -> Provider:
        return _provider(self)

    def done_url(self) -> str:
        return _url("detail", self.object)


class ProviderDisable(ProviderAct):
    """POST ``/providers/<id>/disable/``: routes pass it over from the next publish on."""

    def change(self, reason: str) -> Provider:
        return services.provider_update(actor=self.actor, provider=self.object, enabled=False, reason=reason)

    def done_message(self, result: Provider) -> str:
        return f"{result.name} is disabled: routes pass it over"


class ProviderEnable(ProviderAct):
    """POST ``/providers/<id>/enable/``."""

    reason_required = False

    def change(self, reason: str) -> Provider:
        return services.provider_update(actor=self.actor, provider=self.object, enabled=True, reason=reason)

    def done_message(self, result: Provider) -> str:
        return f"{result.name} is enabled"


class ProviderRemove(ProviderAct):
    """POST ``/providers/<id>/remove/``: with its endpoints and prices; refused while a route targets it."""

    removed = False

    def change(self, reason: str) -> str:
        if self.request.POST.get("confirmation", "") != self.object.name:
            raise ServiceError("Nothing was removed: type the provider's name to confirm.", "confirmation")
        name = str(self.object.name)
        services.provider_delete(actor=self.actor, provider=self.object, reason=reason)
        self.removed = True
        return name

    def done_url(self) -> str:
        exists = Provider.objects.filter(pk=self.kwargs["provider_id"]).exists()
        return reverse("providers:detail", args=[self.kwargs["provider_id"]]) if exists else reverse("providers:list")

    def done_message(self, result: str) -> str:
        return f"Provider {result} is removed"


class ProviderCheck(ScopedView):
    """POST ``/providers/<id>/check/``: check its endpoints now, instead of within five minutes."""

    permission = "provider.change"
    http_method_names: ClassVar[list[str]] = ["post"]

    def post(self, request: HttpRequest, provider_id: UUID) -> HttpResponseBase:
        provider = _provider(self)
        states = providers_check(endpoint_ids=[str(endpoint.pk) for endpoint in provider.endpoints.all()])
        if not states:
            toast(request, f"{provider.name} is disabled, so it was not checked. Enable it first.", tone="warn")
        else:
            words = [CHECK_STATES[state].label.lower() for state in states.values()]
            good = all(state == "up" for state in states.values())
            toast(request, f"{provider.name}: {', '.join(words)}", tone="ok" if good else "warn")
        return redirect(_url("detail", provider))


# --- prices ----------------------------------------------------------------------------------------------------------------


class PriceSubject:
    """A model's price as the thing that is edited; the audit knows it by the fragment's id."""

    def __init__(self, model: ProviderModel) -> None:
        self.model = model
        self.pk = listing.price_subject(model)
        self.specs = listing.model_prices(model)

    def __str__(self) -> str:
        return f"price of {self.model.name}"

    @property
    def now(self) -> PriceSpec | None:
        """In force at this moment."""
        return rules.price_in_force(self.specs, datetime.now(UTC))


class PriceEdit(EditView):
    """``/providers/<id>/models/<model id>/price/``: what a model costs, from a day on; the review says what that means for a request."""

    permission = "price.change"
    kind = "price"
    form_class = PriceForm
    template = "providers/price.html"
    effect: dict[str, Any] | None = None

    def subject(self) -> PriceSubject | None:
        self.provider = _provider(self)
        model = ProviderModel.objects.filter(provider=self.provider, pk=self.kwargs["model_id"])
        model = model.select_related("provider", "like__provider").first()
        if model is None:
            raise Http404("There is no such model at this provider.")
        return PriceSubject(model)

    def managed_of(self) -> tuple[str, str]:
        return "provider", str(self.provider.pk)

    def initial(self) -> dict[str, Any]:
        now: PriceSpec | None = self.object.now if self.object else None
        like = self.object.model.like if self.object else None
        start: dict[str, Any] = {"like": str(like) if like else ""}
        if now is None:
            return {**start, "source": "like" if like else "own"}
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return {**price_initial(now, valid_from=today), **start}

    def form_kwargs(self) -> dict[str, Any]:
        return {"known": self.object is not None}

    def model_name(self, form: forms.Form) -> str:
        """The model whose price it is."""
        return str(self.object.model.name)

    def change(self, form: forms.Form) -> ProviderModel:
        assert isinstance(form, PriceForm)
        name = self.model_name(form)
        before = self.object.now if self.object else None
        text = form.cleaned_data["like"]
        like = model_named(self.provider.organisation, text, field="like") if text else None
        if form.chosen == "own":
            price = form.spec()
            row = prices.price_change(actor=self.actor, provider=self.provider, model=name, price=price, reason=self.reason)
            self.effect = _effect(before, price)
        else:
            row = prices.prices_set(actor=self.actor, provider=self.provider, model=name, prices=[], reason=self.reason)
            after = rules.price_in_force(listing.model_prices(row), datetime.now(UTC))
            if after is None and like is not None:
                after = rules.price_in_force(listing.model_prices(like), datetime.now(UTC))
            self.effect = _effect(before, after)
        prices.model_like_set(actor=self.actor, model=row, like=like, reason=self.reason)
        return row

    def field_of(self, name: str | None, form: forms.Form) -> str | None:
        parts = (name or "").replace("[", ".").split(".")
        return super().field_of(next((part for part in parts if part in ("tiers", "off_peak")), parts[-1]) or name, form)

    def context(self) -> dict[str, Any]:
        return {
            "effect": self.effect,
            "provider": self.provider,
            "specs": self.object.specs if self.object else [],
            "example": (rules.EXAMPLE_INPUT, rules.EXAMPLE_OUTPUT),
            "cost_now": rules.example_cost(self.object.now) if self.object and self.object.now else None,
        }

    def title(self) -> str:
        return f"Price of {self.object.model.name}"

    def crumbs(self) -> list[tuple[str, str]]:
        return [
            ("Providers", reverse("providers:list")),
            (self.provider.name, _url("detail", self.provider)),
            ("Models and prices", _url("models", self.provider)),
        ]

    def cancel_url(self) -> str:
        return _url("models", self.provider)

    def done_url(self, result: ProviderModel) -> str:
        return _url("models", self.provider)

    def done_message(self, result: ProviderModel) -> str:
        return f"Price of {result.name} published"


class PriceAdd(PriceEdit):
    """``/providers/<id>/models/new/``: a model that no route targets yet, with its price."""

    def subject(self) -> None:
        self.provider = _provider(self)

    def model_name(self, form: forms.Form) -> str:
        name = str(form.cleaned_data["model"])
        if ProviderModel.objects.filter(provider=self.provider, name=name).exists():
            raise ServiceError(f"{self.provider.name} has the model {name!r} already: change its price in the list", "model")
        return name

    def title(self) -> str:
        return "Add a model"

    def done_message(self, result: ProviderModel) -> str:
        return f"Model {result.name} added"


class ModelRemove(ActionView):
    """POST ``/providers/<id>/models/<model id>/remove/``: forget a model that no route targets."""

    permission = "price.change"
    reason_required = False

    def subject(self) -> ProviderModel:
        self.provider = _provider(self)
        model = ProviderModel.objects.filter(provider=self.provider, pk=self.kwargs["model_id"]).select_related("provider").first()
        if model is None:
            raise Http404("There is no such model at this provider.")
        return model

    def change(self, reason: str) -> str:
        name = str(self.object.name)
        prices.model_delete(actor=self.actor, model=self.object, reason=reason)
        return name

    def done_url(self) -> str:
        return _url("models", self.provider)

    def done_message(self, result: str) -> str:
        return f"Model {result} is forgotten"


def _effect(before: PriceSpec | None, after: PriceSpec | None) -> dict[str, Any]:
    """What a price means: the cost of the example request before and after, in nano-dollars; None where there is no price."""
    return {
        "before": None if before is None else rules.example_cost(before),
        "after": None if after is None else rules.example_cost(after),
        "from": after.valid_from if after and after.valid_from and after.valid_from > datetime.now(UTC) else None,
    }
