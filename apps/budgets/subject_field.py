"""The field in which a person types what a budget or limit is for, with suggestions that come while they type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from apps.audit.errors import ServiceError
from apps.budgets import choices, limit_choices, performance_choices
from apps.budgets.subjects import subject_read, subject_text

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

SCOPES: dict[str, tuple[str, ...]] = {
    "budget": tuple(choices.SCOPES),
    "limit": tuple(limit_choices.SCOPES),
    "performance": tuple(performance_choices.SCOPES),
}
"""What each kind of thing can be for."""
HELP = "Type a part of a name and choose what is meant, such as “{examples}”."


class SubjectInput(forms.TextInput):
    """A text with a list of suggestions, which the server fills; without scripts a whole name does."""

    def __init__(self, kind: str) -> None:
        super().__init__({"autocomplete": "off", "spellcheck": "false"})
        self.kind = kind

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        place = f"{name}-suggested"
        url = f"{reverse('budgets:subjects')}?{urlencode({'of': self.kind})}"
        asking = {"list": place, "hx-get": url, "hx-trigger": "focus once, input changed delay:150ms", "hx-target": f"#{place}"}
        drawn = super().render(name, value, {**(attrs or {}), **asking, "hx-swap": "innerHTML", "hx-sync": "this:replace"}, renderer)
        return format_html('{}<datalist id="{}"></datalist>', drawn, place)


class SubjectField(forms.CharField):
    """Its value is ``(scope, id or name)``. kind: a key of ``SCOPES``. A form gives it its organisation by ``bind``."""

    def __init__(self, kind: str, *, examples: str, **more: Any) -> None:
        super().__init__(max_length=300, widget=SubjectInput(kind), label="For", help_text=HELP.format(examples=examples), **more)
        self.scopes = SCOPES[kind]
        self.organisation: Organisation | None = None

    def bind(self, organisation: Organisation) -> None:
        self.organisation = organisation

    def prepare_value(self, value: Any) -> Any:
        """``key:<id>``, as links and objects have it, is shown by name."""
        assert self.organisation is not None
        scope, colon, scope_id = value.partition(":") if isinstance(value, str) else ("", "", "")
        if not colon or scope not in self.scopes:
            return value
        return subject_text(self.organisation, scope, scope_id) or (f"(a {scope} that is gone)" if self.disabled else value)

    def clean(self, value: Any) -> Any:
        assert self.organisation is not None
        text = super().clean(value)
        if self.disabled:  # what is there already is what it was
            scope, _, scope_id = text.partition(":")
            return scope, scope_id
        try:
            return subject_read(self.organisation, self.scopes, text)
        except ServiceError as error:
            raise forms.ValidationError(error.message) from None
