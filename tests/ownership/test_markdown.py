"""Markdown of runbooks: what is drawn, and that nothing written in one can do anything."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apps.ownership.markdown import render

TAGS = {"p", "ul", "ol", "li", "hr", "em", "a", "div", "pre", "code", "strong", "blockquote"}
TAGS |= {"h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"}
ATTRIBUTES = {"href", "rel", "class", "start", "tabindex", "role", "aria-label", "scope"}
CLASSES = {"code", "scroll", "table"}


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# Provider away", "<h2>Provider away</h2>"),
        ("one\ntwo\n\nthree", "<p>one\ntwo</p>\n<p>three</p>"),
        ("1. Look\n2. Flip `support`", "<ol><li>Look</li><li>Flip <code>support</code></li></ol>"),
        ("- [ ] ask\n- [x] done\n  - [ ] below", "<ul><li>☐ ask</li><li>☑ done<ul><li>☐ below</li></ul></li></ul>"),
        ("3. third", '<ol start="3"><li>third</li></ol>'),
        ("> **stop** and *think*", "<blockquote><p><strong>stop</strong> and <em>think</em></p></blockquote>"),
        ("a\n---\nb", "<p>a</p>\n<hr>\n<p>b</p>"),
        ("[flags](/flags/)", '<p><a href="/flags/" rel="noopener noreferrer">flags</a></p>'),
        ("see https://a.test/x?b=1&c=2.", '<p>see <a href="https://a.test/x?b=1&amp;c=2" rel="noopener noreferrer">https://a.test/x?b=1&amp;c=2</a>.</p>'),
        ("snake_case and 2 * 3 * 4", "<p>snake_case and 2 * 3 * 4</p>"),
    ],
)  # fmt: skip
def test_what_is_known_is_drawn(text: str, html: str) -> None:
    assert render(text) == html


def test_code_and_tables() -> None:
    assert render("```sh\nmanage.py <x> **no**\n```") == '<pre class="code" tabindex="0"><code>manage.py &lt;x&gt; **no**</code></pre>'
    table = render("| who | when |\n|---|:--|\n| ada | now |\n| bo |")
    assert '<th scope="col">when</th>' in table and "<tr><td>bo</td><td></td></tr>" in table


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>", "[x](javascript:alert(1))", "[x](JaVaScRiPt:alert(1))", "[x](data:text/html,x)", "[x](//evil.test)",
        '[x](https://a.test/"onclick="alert(1))', "![x](https://a.test/a.png)", "`<img src=x onerror=alert(1)>`", "[<b>](/a)",
        "[x](/\\evil.test)",
    ],
)  # fmt: skip
def test_nothing_written_does_anything(text: str) -> None:
    judge(render(text))


SIGNS = "`*_[]()<>#-+>|~\n \"'&:/\\.1ax"
WORDS = ["http://a.b", "javascript:", "</p>", "<a href=x onclick=y>", "\n\n", "```\n"]
ALPHABET = st.sampled_from([*SIGNS, *WORDS])


@given(st.lists(ALPHABET, max_size=60).map("".join))
@example("[" * 500 + "](" * 500)
@example("> " * 200 + "x")
def test_no_text_brings_a_tag_or_an_attribute_of_its_own(text: str) -> None:
    judge(render(text))


def judge(html: str) -> None:
    """Only tags and attributes of the renderer, closed in order, and links that lead to pages."""

    class Judge(HTMLParser):
        def __init__(self) -> None:
            super().__init__(convert_charrefs=False)
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag in TAGS, html
            for name, value in attrs:
                assert name in ATTRIBUTES, html
                assert name != "class" or value in CLASSES, html
                leads = (value or "").lower()
                assert name != "href" or leads.startswith(("http://", "https://", "mailto:", "/", "#")), html
                assert name != "href" or not leads.startswith(("//", "/\\")), html
            if tag != "hr":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag, html

        def handle_comment(self, data: str) -> None:
            raise AssertionError(html)

    judged = Judge()
    judged.feed(html)
    judged.close()
    assert judged.open == [], html
