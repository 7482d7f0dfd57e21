"""Every part's contract: what it draws from what it is given, hostile names included, and what it shows when there is nothing."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django import forms
from django.conf import settings
from django.template import Context, RequestContext, Template, TemplateSyntaxError
from django.test import RequestFactory
from django.utils.safestring import mark_safe

from apps.ui.delta import delta
from apps.ui.status import Status
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build
from apps.ui.timeline import Entry

HOSTILE = "\"><img src=x onerror=alert(1)>'&{{ settings.SECRET_KEY }}\u202e"
PARTS = sorted((Path(settings.BASE_DIR) / "templates/ui").glob("*.html"))
NAUGHTY = Path(settings.BASE_DIR) / ".." / "shared" / "material" / "vectors" / "blns" / "blns.json"


def draw(source: str, url: str = "/list/?sort=name&q=a", **context: Any) -> str:
    request = RequestFactory().get(url)
    return Template("{% load ui parts %}" + source).render(RequestContext(request, context))


def part(name: str, arguments: str = "", body: str = "", url: str = "/list/?sort=name&q=a", **context: Any) -> str:
    return draw(f'{{% part "{name}" {arguments} %}}{body}{{% endpart %}}', url, **context)


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_every_part_states_its_contract_in_one_line(path: Path) -> None:
    if path.stem in {"base", "bare", "document", "palette_page", "catalogue"}:
        return  # pages and frames
    text = path.read_text()
    found = re.search(r"{% comment %}(.+?){% endcomment %}", text)
    assert found, f"{path.name} says not what it takes"
    assert "\n" not in found.group(1) and "{{" not in found.group(1)


def test_a_part_sees_only_what_it_was_given() -> None:
    text = part("panel", 'title="Routes"', "{{ secret }}", secret="of the page", id="of-the-page", csv_url="/other.csv")
    assert "of the page" in text and "of-the-page" not in text and "/other.csv" not in text


def test_fills_go_where_they_are_named_and_nowhere_else() -> None:
    text = part("panel", 'title="Routes"', 'body{% fill "tools" %}TOOLS{% endfill %}{% fill "footer" %}FOOT{% endfill %}')
    assert text.count("TOOLS") == 1 and text.index("TOOLS") < text.index("body") < text.index("<footer>FOOT")


@pytest.mark.parametrize(
    "source",
    ["{% part %}{% endpart %}", '{% part "panel" title %}{% endpart %}', "{% fill tools %}{% endfill %}", '{% fill "a b" %}{% endfill %}'],
)
def test_a_misused_part_is_refused_when_the_template_is_read(source: str) -> None:
    with pytest.raises(TemplateSyntaxError):
        Template("{% load parts %}" + source)


# ---- names from outside, in every part that shows one


class _Form(forms.Form):
    name = forms.CharField(help_text="What people call it.")
    note = forms.CharField(required=False, widget=forms.Textarea)
    kind = forms.ChoiceField(choices=[("a", "A")], widget=forms.RadioSelect)
    on = forms.BooleanField(required=False, help_text="Whether it is on.")
    revision = forms.CharField(widget=forms.HiddenInput)


def _form(data: dict[str, str] | None = None) -> forms.Form:
    form = _Form(data)
    form.fields["name"].label = HOSTILE
    return form


def _change(kind: str = "changed") -> SimpleNamespace:
    fields = [SimpleNamespace(path=HOSTILE, before={"x": HOSTILE}, after=HOSTILE), SimpleNamespace(path="on", before=None, after=True)]
    return SimpleNamespace(section="routes", object_id="1", name=HOSTILE, kind=kind, fields=fields)


def _listing(rows: list[str], url_sort: str = "name", **more: Any) -> Listing[str]:
    columns = [Column("Name", "name", value=lambda row: row), Column("Size", "size", numeric=True, value=len), Column("Note")]
    nothing = Empty("nothing-yet", f"No {HOSTILE}", "Add one.", "/new/", "Add")
    return listing_build({"sort": url_sort}, label="things", columns=columns, rows=rows, default_sort="name", nothing_yet=nothing, **more)


STATE = Status("x", HOSTILE, "bad", hint=HOSTILE)
NOW = datetime(2026, 3, 4, 15, 16, tzinfo=UTC)

HOSTILE_CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("page_head", "title=h crumbs=crumbs state=state note=h", {"crumbs": [(HOSTILE, "/?a=1&b=2")], "state": STATE}),
    ("panel", "title=h id='x' url='/a/' csv_url='/a/?format=csv' live_url='/a/?b=1&c=2'", {}),
    ("stat", "name=h value=h exact=h note=h unit=h", {}),
    ("chips", "chips=chips all='a b'", {"chips": [Chip(HOSTILE, HOSTILE, "q"), Chip("b", "c", "d")]}),
    ("empty", "kind='no-match' title=h text=h action_url='/' action=h", {}),
    ("banner", "tone='bad' title=h text=h action_url='/' action=h dismiss=True", {}),
    ("code", "text=h id='x' label=h", {}),
    ("pairs", "pairs=pairs", {"pairs": [(HOSTILE, HOSTILE), ("b", None), ("c", 0)]}),
    ("tabs", "tabs=tabs label=h", {"tabs": [(HOSTILE, "/a/", True, 3), ("b", "/b/", False, None)]}),
    ("menu", "label=h items=items", {"items": [(HOSTILE, "/a/", "edit"), ("Delete", "dialog:gone", "dash")]}),
    ("dialog", "id='gone' title=h action='/gone/' confirm=h reason=True type_name=h danger=True", {}),
    ("diff", "changes=changes", {"changes": [_change()]}),
    ("timeline", "entries=entries label=h", {"entries": [Entry(NOW, HOSTILE, HOSTILE, HOSTILE, "bad", url="/x/")]}),
    ("form", "form=form submit=h cancel_url='/'", {"form": _form({})}),
    ("table", "listing=listing", {"listing": _listing([])}),
    ("skeleton", "label=h", {}),
]


@pytest.mark.parametrize(("name", "arguments", "context"), HOSTILE_CASES, ids=[case[0] for case in HOSTILE_CASES])
def test_a_hostile_name_is_text_wherever_it_stands(name: str, arguments: str, context: dict[str, Any]) -> None:
    text = part(name, arguments, h=HOSTILE, **context)
    assert "<img" not in text and "&lt;img src=x" in text, text
    assert settings.SECRET_KEY not in text
    assert not re.search(r"=\"[^\"]*\"\w", text), "an attribute was broken open"


def test_all_naughty_strings_can_be_rows_and_chips() -> None:
    if not NAUGHTY.is_file():
        pytest.skip("NO MATERIAL: the naughty strings are not here")
    strings = [text for text in json.loads(NAUGHTY.read_text()) if text.strip()]
    chips = [Chip("Name", text, "q") for text in strings]
    listing = _listing(strings, chips=chips)
    text = part("table", "listing=listing", "{% for row in listing.rows %}<tr><th>{{ row }}</th></tr>{% endfor %}", listing=listing)
    assert "<script" not in text and "<img" not in text and "<svg onload" not in text.lower()


# ---- each part's own


def test_page_head_has_the_one_h1_and_tools_only_when_given() -> None:
    assert part("page_head", 'title="Routes"').count("<h1") == 1
    assert 'class="tools"' not in part("page_head", 'title="Routes"')
    assert 'class="tools"><a>New</a>' in part("page_head", 'title="Routes"', "<a>New</a>")
    assert 'aria-label="Where"' in part("page_head", 'title="x" crumbs=c', c=[("Routes", "/routes/")])


def test_a_live_panel_polls_its_own_address() -> None:
    text = part("panel", 'title="Now" id="now" live_url="/now/" live_seconds=5')
    assert 'data-live hx-get="/now/" hx-trigger="every 5s, refresh from:body"' in text and 'class="fresh"' in text
    assert "hx-get" not in part("panel", 'title="Now"')


def test_stat_shows_course_and_change() -> None:
    change = delta(12, 10, better="less")
    text = part("stat", 'name="Errors" value="1,234,567" values=v tone="bad" delta=d', v=[1, 2, None, 3], d=change)
    assert 'class="value long"' in text and 'class="spark bad"' in text and "tone-bad" in text and "20" in text
    assert "<svg" not in part("stat", 'name="Errors" value="1"')


def test_table_heads_sort_and_say_so() -> None:
    text = part("table", "listing=listing", "<tr></tr>", listing=_listing(["b", "a"]))
    assert re.search(
        r'aria-sort="ascending"[^>]*><a href="\?q=a&amp;sort=-name|aria-sort="ascending"[^>]*><a href="\?sort=-name&amp;q=a', text
    )
    assert "sort=-size" in text  # numbers: the largest first
    assert "2 things" in text


def test_the_three_kinds_of_nothing() -> None:
    nothing = part("table", "listing=listing", listing=_listing([]))
    assert 'data-empty="nothing-yet"' in nothing and 'href="/new/"' in nothing and "<table" not in nothing
    filtered = part("table", "listing=listing", url="/list/?q=a&sort=name", listing=_listing([], chips=[Chip("Name", "a", "q")]))
    assert 'data-empty="no-match"' in filtered and 'href="?sort=name"' in filtered and "Clear the filters" in filtered
    away = Listing("things", (), [], 0, 1, 1, "", empty=Empty("unreachable", "The proxies do not answer", "since 12:00"))
    assert 'data-empty="unreachable"' in part("table", "listing=listing", listing=away)


def test_pages_keep_the_rest_of_the_url() -> None:
    rows = [f"row {at:03}" for at in range(120)]
    listing = listing_build(
        {"page": "2"},
        label="rows",
        columns=[Column("Name", "name", value=str)],
        rows=rows,
        default_sort="name",
        nothing_yet=Empty("nothing-yet", ""),
    )
    text = part("pager", "listing=listing", url="/list/?q=a&page=2", listing=listing)
    assert "51–100 of 120 rows" in text
    assert 'rel="prev" href="?q=a&amp;page=1"' in text and 'rel="next" href="?q=a&amp;page=3"' in text


def test_a_form_says_errors_beside_the_field_and_on_top() -> None:
    form = _form({"note": "kept text"})
    text = part("form", 'form=form submit="Review" cancel_url="/back/"', form=form)
    assert 'role="alert"' in text and 'href="#id_name"' in text
    assert 'id="id_name_error"' in text and 'aria-describedby="id_name_helptext id_name_error"' in text and 'aria-invalid="true"' in text
    assert "kept text" in text and "csrfmiddlewaretoken" in text and "<fieldset" in text and "(optional)" in text
    assert 'role="alert"' not in part("form", "form=form", form=_form())


def test_a_dialog_starts_on_cancel_and_asks_what_it_should() -> None:
    text = part("dialog", 'id="off" title="Disable?" action="/off/" confirm="Disable" reason=True', "<p>3 keys</p>")
    assert re.search(r"data-dismiss autofocus>Cancel", text) and 'name="reason" required' in text and "<p>3 keys</p>" in text
    assert 'name="confirmation"' not in text
    assert 'data-must-equal="chat"' in part("dialog", 'id="x" title="x" action="/" confirm="Delete" type_name="chat"')


def test_a_diff_says_kind_in_icon_word_and_colour() -> None:
    for kind, word in (("added", "Added"), ("changed", "Changed"), ("removed", "Removed")):
        text = part("diff", "changes=c", c=[_change(kind)])
        assert word in text and "tone-" in text and "<svg" in text
    assert "<ins>yes</ins>" in text and '<span class="muted">–</span>' in text
    assert 'data-empty="no-match"' in part("diff", "changes=c", c=[])


def test_what_is_drawn_outside_of_templates_is_escaped_as_well() -> None:
    fields = [SimpleNamespace(path=HOSTILE, before=HOSTILE, after=None)]
    rows = draw("{{ fields|diff_rows }}", fields=fields)
    assert rows.count("&lt;img src=x") == 2 and "<img" not in rows and rows.count('<span class="muted">–</span>') == 1
    hostile = Status("x", HOSTILE, "bad", hint=HOSTILE)
    for _ in range(2):  # the second one is kept
        text = draw("{% status state look %}{% icon 'check' label %}", state=hostile, look='" onx="', label=HOSTILE)
        assert "<img" not in text and text.count("&lt;img src=x") == 3 and '" onx="' not in text


def test_a_kept_icon_is_not_taken_for_one_that_was_safe() -> None:
    safe, plain = (draw("{% icon 'check' label %}", label=label) for label in (mark_safe("a &amp; b"), "a &amp; b"))
    assert 'aria-label="a &amp; b"' in safe and 'aria-label="a &amp;amp; b"' in plain


def test_a_person_is_called_by_name_else_by_email_and_nobody_is_said() -> None:
    people = [SimpleNamespace(name="Ada", email="a@x"), SimpleNamespace(name="", email="<b>@x"), None]
    text = draw("{% for p in people %}{{ p|person_name }};{% endfor %}{{ gone.owner|person_name }}", people=people)
    assert text == "Ada;&lt;b&gt;@x;nobody;nobody"


def test_a_timeline_without_entries_says_so() -> None:
    assert 'data-empty="nothing-yet"' in part("timeline", "entries=e", e=[])
    assert "2026-03-04" in part("timeline", "entries=e", e=[Entry(NOW, "Published", who="ada")])


def test_a_bad_banner_is_an_alert_and_others_wait_their_turn() -> None:
    assert 'role="alert"' in part("banner", 'tone="bad" text="x"') and 'role="status"' in part("banner", 'text="x"')
    assert "data-dismiss" not in part("banner", 'text="x"')


def test_pairs_show_absence_but_keep_zero() -> None:
    text = part("pairs", "pairs=p", p=[("a", None), ("b", 0), ("c", "")])
    assert text.count("<dd>–</dd>") == 2 and "<dd>0</dd>" in text


def test_without_a_request_links_still_work() -> None:
    template = Template("{% load ui %}{% include 'ui/chips.html' with chips=chips %}")
    assert "Remove the filter" in template.render(Context({"chips": [Chip("a", "b", "c")]}))
