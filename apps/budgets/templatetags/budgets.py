"""How pages show budgets."""

from __future__ import annotations

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from apps.budgets.lines import BudgetLine
from apps.ui.format import dollars
from apps.ui.templatetags.ui import svg

register = template.Library()


@register.simple_tag
def budget_bar(line: BudgetLine) -> SafeString:
    """A budget's bar: actual, leased, and a mark where the forecast ends. Built here, because a list has fifty."""
    said = f"{dollars(line.spent)} spent and {dollars(line.leased)} leased of {dollars(line.limit)}"
    said += "" if line.forecast is None else f", forecast {dollars(line.forecast)}"
    spent, ahead = svg(line.spent_share), line.forecast_share
    mark = "" if ahead is None else f'<rect x="{svg(ahead)}" width="1" height="8" fill="currentColor"/>'
    return mark_safe(
        f'<svg class="meter {line.status.tone}" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{escape(said)}">'
        f'<rect class="spent" width="{spent}" height="8"/><rect class="leased" x="{spent}" width="{svg(line.leased_share)}" height="8"/>'
        f"{mark}</svg>"
    )
