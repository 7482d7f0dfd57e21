"""The pages that add, rotate and remove credentials. A value goes in and is never shown again."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404
from django.urls import reverse

from apps.audit.errors import ServiceError
from apps.providers import services
from apps.providers.forms import CredentialForm
from apps.providers.models import Credential
from apps.publishing.editing import ActionView, EditView


class CredentialAdd(EditView):
    """``/providers/credentials/new/``."""

    permission = "credential.change"
    kind = "credential"
    form_class = CredentialForm

    def change(self, form: forms.Form) -> Credential:
        name, organisation = form.cleaned_data["name"], self.choice.organisation
        if Credential.objects.filter(organisation=organisation, name=name).exists():
            raise ServiceError(f"there is a credential {name!r} already: rotate that one, or choose another name", "name")
        return services.credential_set(
            actor=self.actor, organisation=organisation, name=name, value=form.cleaned_data["secret"], reason=self.reason
        )

    def field_of(self, name: str | None, form: forms.Form) -> str | None:
        return super().field_of(name, form) or ("secret" if name == "value" else None)

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Providers", reverse("providers:list")), ("Credentials", reverse("providers:credentials"))]

    def cancel_url(self) -> str:
        return reverse("providers:credentials")

    def done_url(self, result: Credential) -> str:
        return reverse("providers:credentials")

    def done_message(self, result: Credential) -> str:
        return f"Credential {result.name} saved: an endpoint can use it now"


class CredentialRotate(CredentialAdd):
    """``/providers/credentials/<id>/rotate/``: a new value under the same name; proxies use it once they run the new config."""

    def subject(self) -> Credential:
        found = Credential.objects.filter(organisation=self.choice.organisation, pk=self.kwargs["credential_id"]).first()
        if found is None:
            raise Http404("There is no such credential in this organisation.")
        return found

    def initial(self) -> dict[str, Any]:
        # Also the revision: what was rotated meanwhile is not overwritten unseen.
        return {"changed": self.object.changed_at.isoformat()}

    def form_kwargs(self) -> dict[str, Any]:
        return {"rotate": True}

    def change(self, form: forms.Form) -> Credential:
        return services.credential_set(
            actor=self.actor,
            organisation=self.choice.organisation,
            name=self.object.name,
            value=form.cleaned_data["secret"],
            reason=self.reason,
        )

    def title(self) -> str:
        return f"Rotate {self.object.name}"

    def done_message(self, result: Credential) -> str:
        return f"Credential {result.name} rotated"


class CredentialRemove(ActionView):
    """POST ``/providers/credentials/<id>/remove/``: refused while an endpoint uses it."""

    permission = "credential.change"
    reversible = False

    def subject(self) -> Credential:
        found = Credential.objects.filter(organisation=self.choice.organisation, pk=self.kwargs["credential_id"]).first()
        if found is None:
            raise Http404("There is no such credential in this organisation.")
        return found

    def change(self, reason: str) -> str:
        name = str(self.object.name)
        services.credential_delete(actor=self.actor, credential=self.object, reason=reason)
        return name

    def done_url(self) -> str:
        return reverse("providers:credentials")

    def done_message(self, result: str) -> str:
        return f"Credential {result} is removed"
