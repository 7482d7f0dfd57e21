"""Fields of forms, drawn as Django's own templates draw them, without the templates: those cost a form of forty fields most of its page.

``FORM_RENDERER`` of the settings. What is not drawn here (sets of radio buttons, files, an app's own widget) goes its usual way. A test
compares both, attribute by attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.forms.renderers import DjangoTemplates
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

PLACE = "django/forms/widgets/"
INPUTS = (
    "checkbox", "color", "date", "datetime", "email", "hidden", "input", "number", "password", "search", "tel", "text", "time", "url",
)  # fmt: skip
OPTION = f"{PLACE}select_option.html"
Widget = Mapping[str, Any]


def _attributes(widget: Widget) -> str:
    """True: the name alone; False: nothing."""
    return "".join(
        f" {conditional_escape(name)}" if value is True else f' {conditional_escape(name)}="{conditional_escape(value)}"'
        for name, value in widget["attrs"].items()
        if value is not False
    )


def _input(widget: Widget) -> str:
    value = "" if widget["value"] is None else f' value="{conditional_escape(widget["value"])}"'
    return f'<input type="{conditional_escape(widget["type"])}" name="{conditional_escape(widget["name"])}"{value}{_attributes(widget)}>'


def _textarea(widget: Widget) -> str:
    text = conditional_escape(widget["value"]) if widget["value"] else ""
    return f'<textarea name="{conditional_escape(widget["name"])}"{_attributes(widget)}>\n{text}</textarea>'


def _option(option: Widget) -> str:
    return f'<option value="{conditional_escape(option["value"])}"{_attributes(option)}>{conditional_escape(option["label"])}</option>'


def _select(widget: Widget) -> str | None:
    """None where an option is not Django's."""
    parts = []
    for group, options, _ in widget["optgroups"]:
        if any(option["template_name"] != OPTION for option in options):
            return None
        drawn = "".join(f"\n  {_option(option)}\n" for option in options)
        parts.append(f'\n  <optgroup label="{conditional_escape(group)}">{drawn}\n  </optgroup>' if group else drawn)
    return f'<select name="{conditional_escape(widget["name"])}"{_attributes(widget)}>{"".join(parts)}\n</select>'


_DRAWN: dict[str, Callable[[Widget], str | None]] = {
    **{f"{PLACE}{name}.html": _input for name in INPUTS},
    f"{PLACE}textarea.html": _textarea,
    f"{PLACE}select.html": _select,
}


class Renderer(DjangoTemplates):
    """Django's renderer, which is asked for what stands in no table here."""

    def render(self, template_name: str, context: dict[str, Any], request: Any = None) -> SafeString:
        draw = _DRAWN.get(template_name)
        text = draw(context["widget"]) if draw is not None else None
        return mark_safe(text) if text is not None else mark_safe(super().render(template_name, context, request))
