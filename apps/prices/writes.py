"""The pages that change the price book: forms with a review before publishing, and acts from dialogs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404
from django.urls import reverse

from apps.audit.errors import ServiceError
from apps.prices import repricing, services
from apps.prices.forms import DiscountForm, GpuPriceForm, RepricingForm, TakeForm, UnitPriceForm
from apps.prices.models import BookRefresh, GpuPrice, Repricing, UnitPrice
from apps.prices.units import unit_price_delete, unit_price_set
from apps.providers import pricebook
from apps.providers.discounts import discount_delete, discount_set
from apps.providers.models import Discount, Provider
from apps.providers.selectors import provider_named
from apps.publishing.editing import ActionView, EditView


def _providers(view: EditView) -> list[str]:
    return list(Provider.objects.filter(organisation=view.choice.organisation).order_by("name").values_list("name", flat=True))


class DiscountAdd(EditView):
    """``/prices/discounts/new/``."""

    permission = "price.change"
    kind = "discount"
    form_class = DiscountForm

    def form_kwargs(self) -> dict[str, Any]:
        return {"new": self.object is None, "providers": _providers(self)}

    def change(self, form: forms.Form) -> Discount:
        given = dict(form.cleaned_data)
        organisation = self.choice.organisation
        name = self.object.name if self.object is not None else given.pop("name")
        if self.object is None and Discount.objects.filter(organisation=organisation, name=name).exists():
            raise ServiceError(f"there is a discount {name!r} already: edit that one, or choose another name", "name")
        given["provider"] = provider_named(organisation, given["provider"])
        return discount_set(actor=self.actor, organisation=organisation, name=name, reason=self.reason, **given)

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Discounts", reverse("prices:discounts"))]

    def cancel_url(self) -> str:
        return reverse("prices:discounts")

    def done_url(self, result: Discount) -> str:
        return reverse("prices:discounts")

    def done_message(self, result: Discount) -> str:
        return f"Discount {result.name} published"


class DiscountEdit(DiscountAdd):
    """``/prices/discounts/<id>/edit/``."""

    template = "prices/edit.html"

    def subject(self) -> Discount:
        return _discount(self)

    def initial(self) -> dict[str, Any]:
        row: Discount = self.object
        return {
            "provider": row.provider.name,
            "model": row.model,
            "discount": row.discount,
            "valid_from": row.valid_from,
            "valid_to": row.valid_to,
            "note": row.note,
        }

    def context(self) -> dict[str, Any]:
        provider = self.object.provider.name
        return {
            "remove_url": reverse("prices:discount_remove", args=[self.object.pk]),
            "remove_says": f"From the next request on, prices of {provider} are what they were without it. What was booked stays.",
        }


class DiscountRemove(ActionView):
    """POST ``/prices/discounts/<id>/remove/``."""

    permission = "price.change"

    def subject(self) -> Discount:
        return _discount(self)

    def change(self, reason: str) -> str:
        discount_delete(actor=self.actor, discount=self.object, reason=reason)
        return str(self.object.name)

    def done_url(self) -> str:
        return reverse("prices:discounts")

    def done_message(self, result: str) -> str:
        return f"Discount {result} is removed"


def _discount(view: Any) -> Discount:
    row = Discount.objects.filter(organisation=view.choice.organisation, pk=view.kwargs["discount_id"])
    found = row.select_related("provider", "organisation").first()
    if found is None:
        raise Http404("There is no such discount in this organisation.")
    return found


class GpuPriceAdd(EditView):
    """``/prices/gpus/new/``."""

    permission = "price.change"
    kind = "gpu_price"
    form_class = GpuPriceForm
    reversible = False

    def form_kwargs(self) -> dict[str, Any]:
        return {"new": self.object is None}

    def change(self, form: forms.Form) -> GpuPrice:
        given = dict(form.cleaned_data)
        organisation = self.choice.organisation
        name = self.object.name if self.object is not None else given.pop("name")
        if self.object is None and GpuPrice.objects.filter(organisation=organisation, name=name).exists():
            raise ServiceError(f"there is a price {name!r} already: edit that one, or choose another name", "name")
        return services.gpu_price_set(actor=self.actor, organisation=organisation, name=name, reason=self.reason, **given)

    def title(self) -> str:
        return "New GPU price" if self.object is None else f"Edit {self.object}"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("GPU hours", reverse("prices:gpus"))]

    def cancel_url(self) -> str:
        return reverse("prices:gpus")

    def done_url(self, result: GpuPrice) -> str:
        return reverse("prices:gpus")

    def done_message(self, result: GpuPrice) -> str:
        return f"GPU price {result.name} saved"


class GpuPriceEdit(GpuPriceAdd):
    """``/prices/gpus/<id>/edit/``."""

    template = "prices/edit.html"

    def subject(self) -> GpuPrice:
        return _gpu_price(self)

    def initial(self) -> dict[str, Any]:
        row: GpuPrice = self.object
        return {
            "gpu": row.gpu,
            "region": row.region,
            "per_hour": row.per_hour,
            "valid_from": row.valid_from,
            "valid_to": row.valid_to,
        }

    def context(self) -> dict[str, Any]:
        return {
            "remove_url": reverse("prices:gpu_remove", args=[self.object.pk]),
            "remove_says": f"Hours of {self.object.gpu} have no price then. What was booked stays.",
        }


class GpuPriceRemove(ActionView):
    """POST ``/prices/gpus/<id>/remove/``."""

    permission = "price.change"
    reversible = False

    def subject(self) -> GpuPrice:
        return _gpu_price(self)

    def change(self, reason: str) -> str:
        services.gpu_price_delete(actor=self.actor, price=self.object, reason=reason)
        return str(self.object.name)

    def done_url(self) -> str:
        return reverse("prices:gpus")

    def done_message(self, result: str) -> str:
        return f"GPU price {result} is removed"


def _gpu_price(view: Any) -> GpuPrice:
    row = GpuPrice.objects.filter(organisation=view.choice.organisation, pk=view.kwargs["price_id"]).select_related("organisation").first()
    if row is None:
        raise Http404("There is no such GPU price in this organisation.")
    return row


class UnitPriceAdd(EditView):
    """``/prices/units/new/``."""

    permission = "price.change"
    kind = "unit_price"
    form_class = UnitPriceForm

    def form_kwargs(self) -> dict[str, Any]:
        return {"new": self.object is None, "providers": _providers(self)}

    def change(self, form: forms.Form) -> UnitPrice:
        given = dict(form.cleaned_data)
        organisation = self.choice.organisation
        name = self.object.name if self.object is not None else given.pop("name")
        if self.object is None and UnitPrice.objects.filter(organisation=organisation, name=name).exists():
            raise ServiceError(f"there is a price {name!r} already: edit that one, or choose another name", "name")
        given["provider"] = provider_named(organisation, given["provider"])
        return unit_price_set(actor=self.actor, organisation=organisation, name=name, reason=self.reason, **given)

    def title(self) -> str:
        return "New unit price" if self.object is None else f"Edit {self.object}"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Units", reverse("prices:units"))]

    def cancel_url(self) -> str:
        return reverse("prices:units")

    def done_url(self, result: UnitPrice) -> str:
        return reverse("prices:units")

    def done_message(self, result: UnitPrice) -> str:
        return f"Unit price {result.name} published"


class UnitPriceEdit(UnitPriceAdd):
    """``/prices/units/<id>/edit/``."""

    template = "prices/edit.html"

    def subject(self) -> UnitPrice:
        return _unit_price(self)

    def initial(self) -> dict[str, Any]:
        row: UnitPrice = self.object
        fields = ("model", "unit", "per_thousand", "quality", "size", "valid_from", "valid_to")
        return {"provider": row.provider.name, **{field: getattr(row, field) for field in fields}}

    def context(self) -> dict[str, Any]:
        return {
            "remove_url": reverse("prices:unit_remove", args=[self.object.pk]),
            "remove_says": "From the next request on nothing prices these units. Under a hard budget such requests are refused.",
        }


class UnitPriceRemove(ActionView):
    """POST ``/prices/units/<id>/remove/``."""

    permission = "price.change"

    def subject(self) -> UnitPrice:
        return _unit_price(self)

    def change(self, reason: str) -> str:
        unit_price_delete(actor=self.actor, price=self.object, reason=reason)
        return str(self.object.name)

    def done_url(self) -> str:
        return reverse("prices:units")

    def done_message(self, result: str) -> str:
        return f"Unit price {result} is removed"


def _unit_price(view: Any) -> UnitPrice:
    row = UnitPrice.objects.filter(organisation=view.choice.organisation, pk=view.kwargs["unit_price_id"])
    found = row.select_related("organisation", "provider").first()
    if found is None:
        raise Http404("There is no such unit price in this organisation.")
    return found


class BaseTake(EditView):
    """``/prices/base/take/``: the installed base prices now, instead of within ten minutes; the review is the diff."""

    permission = "price.change"
    installation = True
    kind = "prices"
    form_class = TakeForm

    def change(self, form: forms.Form) -> BookRefresh:
        return services.book_take(actor=self.actor, reason=self.reason or f"base prices of {pricebook.book_version()}")

    def title(self) -> str:
        return f"Take the prices of {pricebook.book_version()}"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Base prices", reverse("prices:base"))]

    def cancel_url(self) -> str:
        return reverse("prices:base")

    def done_url(self, result: BookRefresh) -> str:
        return reverse("prices:base")

    def done_message(self, result: BookRefresh) -> str:
        return f"{len(result.changed)} base prices changed" if result.changed else "No base price differs"


class RepricingAdd(EditView):
    """``/prices/repricing/new/``: the review shows the correction before it counts."""

    permission = "price.change"
    kind = "repricing"
    form_class = RepricingForm
    reason_required = True
    reversible = False

    def form_kwargs(self) -> dict[str, Any]:
        return {"providers": _providers(self)}

    def change(self, form: forms.Form) -> Repricing:
        why = self.reason or "(review)"
        return repricing.repricing_create(actor=self.actor, organisation=self.choice.organisation, reason=why, **form.cleaned_data)

    def title(self) -> str:
        return "Price a period again"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Re-pricing", reverse("prices:repricings"))]

    def cancel_url(self) -> str:
        return reverse("prices:repricings")

    def done_url(self, result: Repricing) -> str:
        return reverse("prices:repricing", args=[result.pk])

    def done_message(self, result: Repricing) -> str:
        return "The period is priced again" if result.state == "done" else "The period is being priced again"


class RepricingWithdraw(ActionView):
    """POST ``/prices/repricing/<id>/withdraw/``: its difference counts no more."""

    permission = "price.change"
    reversible = False

    def subject(self) -> Repricing:
        row = Repricing.objects.filter(organisation=self.choice.organisation, pk=self.kwargs["repricing_id"])
        found = row.select_related("organisation").first()
        if found is None:
            raise Http404("There is no such re-pricing in this organisation.")
        return found

    def change(self, reason: str) -> Repricing:
        return repricing.repricing_withdraw(actor=self.actor, repricing=self.object, reason=reason)

    def done_url(self) -> str:
        return reverse("prices:repricing", args=[self.kwargs["repricing_id"]])

    def done_message(self, result: Repricing) -> str:
        return "The re-pricing is withdrawn"
