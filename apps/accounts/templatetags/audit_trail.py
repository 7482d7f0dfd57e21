"""From any object's page to its own trail in the audit."""

from __future__ import annotations

from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from apps.ui.navigation import may_of

register = template.Library()


@register.simple_tag(takes_context=True)
def trail_link(context: template.Context, kind: str, subject_id: object) -> SafeString:
    """A link to everything that the audit has of one object, for whoever may read it; nothing for others."""
    request = context.get("request")
    if request is None or not may_of(request)("audit.view", installation=True):
        return mark_safe("")
    address = f"{reverse('audit:log')}?{urlencode({'kind': kind, 'id': str(subject_id), 'from': 'now-400d'})}"
    return format_html('<div class="end"><a href="{}">In the audit</a></div>', address)
