"""Fields drawn without templates look as Django draws them, to the character."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms
from django.forms.renderers import DjangoTemplates
from django.utils.safestring import mark_safe

from apps.ui import form_rendering
from apps.ui.form_rendering import Renderer

HOSTILE = "\"><script>alert('1')</script>&amp;{{ x }}"
ATTRS: tuple[dict[str, Any], ...] = (
    {},
    {
        "id": "x",
        "required": True,
        "hidden": False,
        "maxlength": 5,
        "placeholder": HOSTILE,
        HOSTILE: "1",
        "title": mark_safe("a &amp; b"),
        "data-n": None,
    },
)
VALUES: tuple[Any, ...] = (None, "", 0, 12345678, 1.5, True, False, HOSTILE, mark_safe("<b>"), [HOSTILE, "b"])
CHOICES = [
    ("", "Any"),
    ("b", HOSTILE),
    (HOSTILE, "c"),
    (7, 7),
    (HOSTILE, [("d", "D"), (mark_safe("&lt;"), mark_safe("<i>"))]),
    (None, "None"),
]
INPUTS = [
    forms.TextInput, forms.NumberInput, forms.EmailInput, forms.URLInput, forms.PasswordInput, forms.HiddenInput, forms.DateInput,
    forms.DateTimeInput, forms.TimeInput, forms.SearchInput, forms.ColorInput, forms.TelInput, forms.CheckboxInput, forms.Textarea,
]  # fmt: skip
WIDGETS = [
    *(kind() for kind in INPUTS),
    forms.PasswordInput(render_value=True),
    forms.Select(choices=CHOICES),
    forms.SelectMultiple(choices=CHOICES),
    forms.RadioSelect(choices=CHOICES),
    forms.CheckboxSelectMultiple(choices=CHOICES),
    forms.ClearableFileInput(),
]


@pytest.mark.parametrize("widget", WIDGETS, ids=lambda widget: type(widget).__name__)
def test_a_field_is_drawn_as_django_draws_it(widget: forms.Widget) -> None:
    for value in VALUES:
        for attrs in ATTRS:
            drawn = [widget.render(HOSTILE, value, attrs=attrs, renderer=renderer) for renderer in (Renderer(), DjangoTemplates())]
            assert drawn[0] == drawn[1], (value, attrs)
            assert hasattr(drawn[0], "__html__")


def test_an_option_of_another_kind_is_left_to_its_template() -> None:
    class Other(forms.Select):
        option_template_name = "django/forms/widgets/input_option.html"

    drawn = [Other(choices=CHOICES).render("x", "b", renderer=renderer) for renderer in (Renderer(), DjangoTemplates())]
    assert drawn[0] == drawn[1] and "<input" in drawn[0]


def test_forms_are_drawn_by_it(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(form_rendering._DRAWN, "django/forms/widgets/text.html", lambda widget: "drawn here")

    class One(forms.Form):
        name = forms.CharField()

    assert "drawn here" in str(One()["name"])
