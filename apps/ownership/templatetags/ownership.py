"""How pages show ownership."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString

from apps.ownership.models import Runbook
from apps.ownership.tables import runbook_status
from apps.ui.templatetags.ui import status

register = template.Library()


@register.simple_tag
def runbook_state(book: Runbook) -> SafeString:
    """Whether a runbook can be trusted, in word, icon and colour."""
    return status(runbook_status(book))
