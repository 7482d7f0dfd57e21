"""The pages that say something of a model: a form with a review before publishing, and taking it back."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404
from django.urls import reverse

from apps.audit.errors import ServiceError
from apps.catalogue import services
from apps.catalogue.forms import OverrideForm, override_initial
from apps.catalogue.listing import provider_names
from apps.catalogue.models import Entry
from apps.contracts.model_facts import NOTHING
from apps.providers.models import Provider, ProviderModel
from apps.providers.prices import price_id
from apps.providers.selectors import provider_named
from apps.publishing.editing import ActionView, EditView


class Subject:
    """A model as the editing flow knows it; ``pk`` is what the audit calls it."""

    def __init__(self, model: ProviderModel) -> None:
        self.model = model
        self.pk = price_id(model)
        self.entry: Entry = getattr(model, "entry", None) or Entry(model=model)

    def __str__(self) -> str:
        return str(self.model.name)


class OverrideEdit(EditView):
    """``/models/<id>/edit/``: what you know of a model better than packages and its provider's list."""

    permission = "provider.change"
    kind = "model"
    form_class = OverrideForm
    template = "catalogue/edit.html"

    def subject(self) -> Subject | None:
        model = ProviderModel.objects.filter(provider__organisation=self.choice.organisation, pk=self.kwargs["model_id"])
        found = model.select_related("provider__organisation", "entry").first()
        if found is None:
            raise Http404("There is no such model in this organisation.")
        return Subject(found)

    def managed_of(self) -> tuple[str, str]:
        return ("provider", str(self.object.model.provider_id)) if self.object is not None else ("", "")

    def initial(self) -> dict[str, Any]:
        return override_initial(self.object.entry.own_facts, self.object.entry.note) if self.object is not None else {}

    def form_kwargs(self) -> dict[str, Any]:
        return {"providers": None, "known": self.object.entry.known_facts}

    def place(self, form: forms.Form) -> tuple[Provider, str]:
        """Of which provider and model it is said."""
        return self.object.model.provider, self.object.model.name

    def change(self, form: forms.Form) -> ProviderModel:
        assert isinstance(form, OverrideForm)
        provider, name = self.place(form)
        note = form.cleaned_data["note"]
        services.override_set(actor=self.actor, provider=provider, model=name, facts=form.facts(), note=note, reason=self.reason)
        return ProviderModel.objects.get(provider=provider, name=name)

    def field_of(self, name: str | None, form: forms.Form) -> str | None:
        return super().field_of({"name": "model"}.get(name or "", name), form)

    def context(self) -> dict[str, Any]:
        entry = self.object.entry if self.object is not None else None
        remove = reverse("catalogue:clear", args=[self.object.model.pk]) if entry is not None and entry.own else ""
        return {"remove_url": remove}

    def title(self) -> str:
        return f"What {self.object.model.name[:80]} can do"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Providers", reverse("providers:list")), ("Models", reverse("catalogue:list"))]

    def cancel_url(self) -> str:
        return reverse("catalogue:model", args=[self.object.model.pk]) if self.object is not None else reverse("catalogue:list")

    def done_url(self, result: ProviderModel) -> str:
        return reverse("catalogue:model", args=[result.pk])

    def done_message(self, result: ProviderModel) -> str:
        return f"Model {result.name} published"


class OverrideAdd(OverrideEdit):
    """``/models/new/``: something is known of a model that no route targets yet."""

    def subject(self) -> None:
        return None

    def form_kwargs(self) -> dict[str, Any]:
        return {"providers": provider_names(self.choice.organisation), "known": NOTHING}

    def place(self, form: forms.Form) -> tuple[Provider, str]:
        provider = provider_named(self.choice.organisation, form.cleaned_data["provider"])
        name = str(form.cleaned_data["model"])
        if ProviderModel.objects.filter(provider=provider, name=name).exists():
            raise ServiceError(f"{provider.name} has the model {name!r} in use already: edit it in the list", "model")
        return provider, name

    def title(self) -> str:
        return "Add a model"


class OverrideClear(ActionView):
    """POST ``/models/<id>/clear/``: take back what was said."""

    permission = "provider.change"

    def subject(self) -> Subject:
        model = ProviderModel.objects.filter(provider__organisation=self.choice.organisation, pk=self.kwargs["model_id"])
        found = model.select_related("provider__organisation", "entry").first()
        if found is None:
            raise Http404("There is no such model in this organisation.")
        return Subject(found)

    def change(self, reason: str) -> str:
        name = str(self.object)
        model = self.object.model
        services.override_set(actor=self.actor, provider=model.provider, model=model.name, facts=NOTHING, reason=reason)
        return name

    def done_url(self) -> str:
        return reverse("catalogue:model", args=[self.object.model.pk])

    def done_message(self, result: str) -> str:
        return f"{result} is as packages and its provider's list say"
