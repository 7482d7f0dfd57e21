"""How pages of flags say figures: rates by the minute, more or less of something, what a prediction was off by."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.flags.afterwards import Line
from apps.flags.consequences import BudgetChange
from apps.flags.flip_views import request_url
from apps.flags.models import ChangeRequest
from apps.ui.format import NOTHING, compact, dollars, duration
from apps.ui.templatetags.ui import icon

register = template.Library()
THIN = "\u202f"


@register.filter
def per_minute(value: float) -> str:
    """Requests a minute, in size: the sentence says in which direction."""
    size = abs(value)
    return compact(size) if size >= 9.95 else f"{size:.1f}" if size >= 0.095 else f"{size:.2f}" if size else "0"


@register.filter
def at_once(value: float) -> str:
    """Requests at once on average."""
    return compact(value) if value >= 9.95 else f"{value:.1f}" if value >= 0.95 else "fewer than one"


@register.filter
def more_dollars(nano: int) -> str:
    """Nano-dollars more or less: ``$1.20 more``."""
    return f"{dollars(abs(nano))} {'more' if nano > 0 else 'less'}"


@register.filter
def more_time(us: float) -> str:
    """Microseconds more or less: ``120 ms later``."""
    return "stays as it is" if abs(us) < 500 else f"{duration(abs(us))} {'later' if us > 0 else 'sooner'}"


@register.filter
def minutes_text(minutes: float) -> str:
    """``hour``, ``12 min``, ``40 s``, after "the last"."""
    return "hour" if minutes >= 59 else f"{minutes:.0f}{THIN}min" if minutes >= 2 else seconds_text(minutes * 60)


@register.filter
def seconds_text(seconds: float) -> str:
    """``40 s``, ``4 min 10 s``."""
    return duration(float(round(seconds)) * 1e6) if seconds >= 60 else f"{max(0, round(seconds))}{THIN}s"


@register.filter
def budget_end(change: BudgetChange) -> str:
    """When a budget would be used up, beside when it is at this rate."""
    earlier = change.earlier_ms
    if earlier is not None:
        return f"would be used up {duration(abs(earlier) * 1000)} {'earlier' if earlier > 0 else 'later'}"
    if change.would_end_ms is None:
        return "would last its window"
    return "would be used up before its window ends; at this rate it is not"


@register.simple_tag
def line_value(line: Line, value: float | None) -> str:
    """A figure of a line in its unit."""
    if value is None:
        return "not known" if line.unit != "time" else NOTHING
    if line.unit == "rate":
        return f"{per_minute(value)}/min"
    if line.unit == "time":
        return duration(value)
    return f"{dollars(round(value))}{'/hour' if line.unit == 'dollars' else ''}"


@register.simple_tag
def line_off(line: Line) -> SafeString | str:
    """How far a prediction was off, and whether that is little."""
    if line.off is None:
        return NOTHING
    tone, name = ("good", "check") if line.right else ("warn", "warning")
    return format_html('<span class="status tone-{}">{}{}</span>', tone, icon(name), f"{line.off * 100:+.0f}{THIN}%")


@register.simple_tag
def change_url(change: ChangeRequest) -> str:
    """The page of a request; empty where there is none."""
    return request_url(change)


@register.filter
def lowfirst(text: str) -> str:
    """A sentence in the middle of another."""
    return text[:1].lower() + text[1:]
