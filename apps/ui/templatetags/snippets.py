"""First calls to copy, for templates."""

from __future__ import annotations

from django import template

from apps.ui.snippets import Snippet
from apps.ui.snippets import snippets as build

register = template.Library()


@register.simple_tag
def first_calls(proxy_url: str, model: str) -> list[Snippet]:
    """curl, Python and Node (``apps.ui.snippets``): ``{% first_calls bar_fleet.proxy_url route.name as calls %}``."""
    return build(proxy_url=str(proxy_url), model=model)
