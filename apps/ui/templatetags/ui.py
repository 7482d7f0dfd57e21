"""Template tags of every page: icons, statuses, numbers, times, links that keep the rest of the URL."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import msgspec
from django import template
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpRequest
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from apps.ui import format as formatting
from apps.ui import frame
from apps.ui.bar import Count, counts_of
from apps.ui.delta import Delta
from apps.ui.icons import ICONS
from apps.ui.navigation import Place
from apps.ui.sparkline import HEIGHT, WIDTH, spark_path
from apps.ui.status import ICON_OF_TONE, Status, Tone
from apps.ui.timerange import REFRESH
from apps.ui.toasts import Toast, toasts_take
from apps.ui.zone import zone_label

register = template.Library()

STROKES = mark_safe('fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round"')
PLOTLY_JS = "vendor/plotly-strict-4.1.1.min.js"

register.filter("duration", formatting.duration)
register.filter("compact", formatting.compact)
register.filter("rate", formatting.rate)
register.filter("dollars", formatting.dollars)
register.filter("dollars_exact", formatting.dollars_exact)
register.filter("bytes_text", formatting.bytes_text)


@register.simple_tag
def share(part: float, whole: float) -> str:
    """``part`` of ``whole`` in percent."""
    return formatting.percent(part, whole)


@register.filter
def holds(place: Place, view_name: str) -> bool:
    """Whether a page lies at this place of the rail."""
    return place.holds(view_name)


@register.simple_tag(takes_context=True)
def rail_drawn(context: template.Context) -> SafeString:
    """The rail's links (``apps.ui.frame``), of the context's ``rail`` and ``current_place``."""
    return frame.rail_drawn(tuple(context.get("rail") or ()), context.get("current_place") or "")


@register.simple_tag(takes_context=True)
def overlays_drawn(context: template.Context) -> SafeString:
    """What opens over every page (``apps.ui.frame``), of the context's ``rail``."""
    return frame.overlays_drawn(tuple(context.get("rail") or ()))


@register.simple_tag(takes_context=True)
def bar_counts(context: template.Context) -> list[Count]:
    """The counts of the bar."""
    request: HttpRequest | None = context.get("request")
    return counts_of(request) if request else []


@register.simple_tag(takes_context=True)
def toasts(context: template.Context) -> list[Toast]:
    """The messages that wait to be said to this person; reading them takes them."""
    request: HttpRequest | None = context.get("request")
    return list(toasts_take(request)) if request else []


@register.simple_tag
def refresh_choices() -> tuple[tuple[str, str], ...]:
    """What ``?refresh=`` may be, with its words."""
    return REFRESH


@register.simple_tag
def stylesheets() -> list[str]:
    """The addresses of what every page is drawn with, in order: one where static files were collected."""
    storage: Any = staticfiles_storage
    sheets: list[str] = storage.stylesheets()
    return sheets


@register.simple_tag
def plotly_js() -> str:
    """Where the plot library lies; plots.js loads it when a page has a plot."""
    return static(PLOTLY_JS)


@register.simple_tag
@lru_cache(maxsize=1_000, typed=True)
def icon(name: str, label: str = "") -> SafeString:
    """An icon; hidden from screen readers unless it carries a label, because a word stands beside it. Drawn once: a page has hundreds."""
    meaning = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html('<svg class="icon" viewBox="0 0 16 16" {} {}>{}</svg>', meaning, STROKES, mark_safe(ICONS[name]))


@register.simple_tag
@lru_cache(maxsize=2_000)
def status(state: Status, look: str = "") -> SafeString:
    """Icon, word and colour of a status. ``look``: ``pill`` for a filled one. Drawn once: all rows of a list show the same few."""
    title = f' title="{html.escape(state.hint)}"' if state.hint else ""
    return mark_safe(
        f'<span class="status tone-{state.tone} {html.escape(look)}"{title}>{icon(state.icon_name)}{html.escape(state.label)}</span>'
    )


CHANGES: dict[str, Status] = {
    "added": Status("added", "Added", "good", icon="plus"),
    "changed": Status("changed", "Changed", "info", icon="edit"),
    "removed": Status("removed", "Removed", "bad", icon="dash"),
}


@register.simple_tag
def change_status(kind: str) -> SafeString:
    """What a change does to an object: added, changed or removed."""
    return status(CHANGES[kind])


@register.filter
def diff_rows(fields: Iterable[Any]) -> SafeString:
    """The rows of a diff's table: ``path``, ``before``, ``after`` of each field. Built here and not in a template, because a version has
    thousands of fields."""
    sides = (("before", "del"), ("after", "ins"))
    return mark_safe(
        "".join(
            f'<tr><th scope="row" class="break">{html.escape(str(field.path))}</th>'
            + "".join(f'<td class="break" data-label="{side}">{_diff_value(getattr(field, side), mark)}</td>' for side, mark in sides)
            + "</tr>"
            for field in fields
        )
    )


@register.simple_tag
def diff_value(value: Any, mark: str) -> SafeString:
    """One side of a changed field, marked as ``del`` or ``ins``; nothing is a dash without a mark."""
    return mark_safe(_diff_value(value, {"del": "del", "ins": "ins"}[mark]))


def _diff_value(value: Any, mark: str) -> str:
    text = formatting.value_text(value)
    return f'<span class="muted">{text}</span>' if text == formatting.NOTHING else f"<{mark}>{html.escape(text[:2000])}</{mark}>"


@register.simple_tag
def tone_icon(tone: Tone) -> SafeString:
    """The icon of a tone."""
    return icon(ICON_OF_TONE[tone])


@register.simple_tag
def delta_text(change: Delta) -> SafeString:
    """A change against the time before: arrow, number and whether it is welcome."""
    arrow = {"up": "▲", "down": "▼", "same": "="}[change.direction]
    spoken = {"up": "up", "down": "down", "same": ""}[change.direction]
    return format_html(
        '<span class="delta tone-{}"><span aria-hidden="true">{}</span><span class="visually-hidden">{}</span> {}</span>',
        change.tone,
        arrow,
        spoken,
        change.text,
    )


@register.simple_tag
def sparkline(values: Sequence[float | None], tone: str = "") -> SafeString:
    """The course of a number; nothing where there is no course."""
    path = spark_path(values)
    if not path:
        return mark_safe("")
    gapless = path.count("M") == 1 and None not in values
    area = format_html('<path class="area" d="{}V{}H0Z"/>', path, HEIGHT) if gapless else ""
    return format_html(
        '<svg class="spark {}" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">{}<path class="line" d="{}"/></svg>',
        tone,
        WIDTH,
        HEIGHT,
        area,
        path,
    )


@register.filter
def person_name(person: Any) -> str:
    """What pages call a person: the name, without one the email, and of nobody (they may be gone by now) just that."""
    return str(person.name or person.email) if person else "nobody"


@register.filter
def day(value: datetime | None) -> str:
    """A day that was set as one, such as a price's first: the UTC day it began on, whatever zone the reader is in."""
    return value.astimezone(UTC).strftime("%Y-%m-%d") if value else ""


@register.filter
def moment(value: datetime | None, form: str = "%Y-%m-%d %H:%M:%S") -> SafeString:
    """A time in the person's zone, with UTC in its title; ``%f`` is milliseconds."""
    if value is None:
        return mark_safe(formatting.NOTHING)
    return _time(value, timezone.localtime(value).strftime(form.replace("%f", f"{value.microsecond // 1000:03d}")))


def _time(value: datetime, text: str) -> SafeString:
    """A moment with its exact time in UTC as the title."""
    exact = value.astimezone(UTC).isoformat(timespec="milliseconds")
    return mark_safe(f'<time datetime="{exact}" title="{exact}">{html.escape(text)}</time>')


@register.simple_tag
def zone_name() -> str:
    """The zone that times are shown in, for headings: ``UTC`` or ``Europe/Berlin``."""
    return zone_label()


@register.filter
def ago(value: datetime | None) -> SafeString:
    """How long ago, with the time itself in the title."""
    if value is None:
        return mark_safe(formatting.NOTHING)
    return _time(value, formatting.age((datetime.now(UTC) - value).total_seconds()))


@register.simple_tag(takes_context=True)
def url_with(context: template.Context, **changes: Any) -> str:
    """This page's URL with parameters replaced; None or empty removes one. The place in a list is dropped unless it is what changes."""
    request: HttpRequest | None = context.get("request")
    wanted = {{"from_": "from"}.get(name, name): "" if value is None else str(value) for name, value in changes.items()}
    left_out = {"after", "before", "format"} | (set() if "page" in wanted else {"page"})
    pairs: list[tuple[str, str]] = []
    for name, values in request.GET.lists() if request else ():
        if name in wanted:
            pairs += [(name, given)] if (given := wanted.pop(name)) else []
        elif name not in left_out:
            pairs += [(name, value) for value in values]
    query = urlencode(pairs + [(name, given) for name, given in wanted.items() if given])
    return f"?{query}" if query else (request.path if request else "?")


@register.simple_tag(takes_context=True)
def url_without(context: template.Context, names: str) -> str:
    """This page's URL without some parameters, named with blanks between them."""
    return url_with(context, **dict.fromkeys(names.split(), None))


@register.simple_tag(takes_context=True)
def query_hidden(context: template.Context, without: str) -> SafeString:
    """This page's parameters as hidden fields, but for those named in ``without`` and the place in a list: what a GET form keeps."""
    request: HttpRequest | None = context.get("request")
    left_out = {*without.split(), "after", "before", "page", "format"}
    pairs = [(name, value) for name, values in (request.GET.lists() if request else ()) for value in values if name not in left_out]
    return format_html_join("", '<input type="hidden" name="{}" value="{}">', pairs)


@register.simple_tag(takes_context=True)
def query_value(context: template.Context, name: str) -> str:
    """A parameter of this page's URL, for a form that keeps it."""
    request: HttpRequest = context["request"]
    return request.GET.get(name, "")


@register.filter
def table_rows(rows: Sequence[Sequence[Any]]) -> SafeString:
    """The rows of a plot's table. Built here and not in a template, because hundreds of cells cost a template tens of milliseconds; and
    escaped row by row, with what no text can hold between the cells."""
    return mark_safe("".join(_row(*html.escape("\0".join(map(str, row))).split("\0")) for row in rows))


def _row(first: str, *rest: str) -> str:
    numbers = '</td><td class="num">'.join(rest)
    return (
        f'<tr><td class="nowrap">{first}</td><td class="num">{numbers}</td></tr>' if rest else f'<tr><td class="nowrap">{first}</td></tr>'
    )


_UNTAGGED = {ord("<"): "\\u003C", ord(">"): "\\u003E", ord("&"): "\\u0026"}


@register.filter
def figure_json(figure: dict[str, Any], element_id: str) -> SafeString:
    """A figure as ``json_script`` writes it, in a tenth of the time: a dashboard has nine, of a hundred points and more a line."""
    text = msgspec.json.encode(figure).decode().translate(_UNTAGGED)
    return format_html('<script id="{}" type="application/json">{}</script>', element_id, mark_safe(text))


@register.filter
def words(text: str) -> list[str]:
    """The words of a text, to loop over."""
    return text.split()


@register.filter
def milliseconds(value: int | None) -> str:
    """Milliseconds as a duration."""
    return formatting.NOTHING if value is None else "0" if value == 0 else formatting.duration(value * 1000)


@register.filter
def svg(value: float) -> str:
    """A coordinate, whatever the locale."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


@register.filter
def pretty_json(value: Any) -> str:
    """Indented JSON for reading."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
