"""``/settings/tokens/``: one's own personal tokens. A secret is in the answer to the POST that made it, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar, cast

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.pages import ScopedView, refusal_text
from apps.accounts.scopes import AREAS, READ, WRITE
from apps.accounts.tokens import NAME_LENGTH, token_create, token_revoke, tokens_of
from apps.ui.toasts import toast

LIVES = (("7", "A week"), ("30", "30 days"), ("90", "90 days"), ("365", "A year"))


class TokenForm(forms.Form):
    """A name, an end, and for each area nothing, reading or writing."""

    name = forms.CharField(max_length=NAME_LENGTH, help_text="What uses it, such as deploy pipeline.")
    days = forms.ChoiceField(label="Ends in", choices=LIVES, initial="90")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [("", "None"), (READ, "Read"), (WRITE, "Write")]
        for area in AREAS:
            self.fields[f"scope-{area.name}"] = forms.ChoiceField(label=area.label, choices=choices, required=False)

    @property
    def areas(self) -> Iterator[forms.BoundField]:
        """The fields of the areas, for the page."""
        return (self[name] for name in self.fields if name.startswith("scope-"))

    @property
    def scopes(self) -> list[str]:
        """Grants as chosen."""
        chosen = {name.removeprefix("scope-"): mode for name, mode in self.cleaned_data.items() if name.startswith("scope-") and mode}
        return [f"{area}:{mode}" for area, mode in chosen.items()]


class TokensView(ScopedView):
    """POST with ``act`` = ``create`` or ``revoke``."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]

    @property
    def person(self) -> User:
        return cast(User, self.request.user)

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self._page(TokenForm())

    def post(self, request: HttpRequest) -> HttpResponseBase:
        act = {"create": self._create, "revoke": self._revoke}.get(request.POST.get("act", ""))
        return act() if act else self._page(TokenForm(), status=400)

    def _create(self) -> HttpResponse:
        form = TokenForm(self.request.POST)
        if not form.is_valid():
            return self._page(form, status=400)
        given = form.cleaned_data
        try:
            token, secret = token_create(
                actor=self.actor, user=self.person, name=given["name"], scopes=form.scopes,
                expires_at=timezone.now() + timedelta(days=int(given["days"])),
            )  # fmt: skip
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(form, status=400)
        return self._page(TokenForm(), made=token, secret=secret)

    def _revoke(self) -> HttpResponse:
        wanted = self.request.POST.get("token", "")
        token = next((row for row in tokens_of(self.person) if str(row.pk) == wanted), None)
        if token is None:
            toast(self.request, "That token is revoked already.", tone="info")
        else:
            token_revoke(actor=self.actor, token=token)
            toast(self.request, f"Token {token.name} revoked: it opens nothing any more")
        return redirect("settings:tokens")

    def _page(self, form: TokenForm, *, status: int = 200, **made: Any) -> HttpResponse:
        context = {
            "choice": self.choice,
            "tab": "tokens",
            "form": form,
            "tokens": list(tokens_of(self.person)),
            "now": timezone.now(),
            **made,
        }
        context["base"] = self.request.build_absolute_uri("/api/v1/me/")
        return render(self.request, "settings/tokens.html", context, status=status)
