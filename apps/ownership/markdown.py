"""Markdown of runbooks -> HTML that cannot do anything. Pure.

Everything is escaped first; what is recognised is then wrapped in tags of this file, so no tag and no attribute of the text ever
reaches the page. Known: headings, paragraphs, lists (also numbered, with boxes, and one level below), quotes, rules, fenced code, tables,
`code`, **bold**, *italic*, [links](https://...) to http(s), mailto and paths of this installation, and bare addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

from django.utils.safestring import SafeString, mark_safe

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
_ITEM = re.compile(r"( *)([-*+]|\d{1,9}[.)])\s+(.*)$")
_RULE = re.compile(r" {0,3}([-*_])(?: *\1){2,} *$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_TABLE_LINE = re.compile(r"\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
_INLINE = re.compile(
    r"(?P<code>`{1,4})(?P<coded>.{1,500}?)(?P=code)(?!`)"
    r"|\[(?P<label>[^\]\n]{1,500})\]\((?P<url>[^\s()<>]{1,1000}(?:\([^\s()<>]{0,200}\))?[^\s()<>]{0,200})\)"
    r"|(?P<bare>https?://[^\s<>\"'`]{1,1000}[^\s<>\"'`.,;:!?)\]])"
    r"|\*\*(?P<bold>\S(?:.{0,500}?\S)?)\*\*"
    r"|(?<![\w*])\*(?P<italic>[^\s*](?:[^*\n]{0,500}[^\s*])?)\*(?![\w*])"
)
# Lengths are bounded, so that no text costs more than its length times a constant.
_SAFE = re.compile(r"(?:https?://|mailto:|/(?![/\\])|#)", re.IGNORECASE)
DEEPEST = 4
"""Quotes and emphasis inside one another; beyond it text stays as it was written."""


def render(text: str, *, top: int = 2) -> SafeString:
    """HTML of a text. top: the level that its highest heading gets, so that a page keeps its one h1."""
    return mark_safe(_blocks(text.replace("\r\n", "\n").expandtabs(4).split("\n"), top, 0))  # every piece was escaped


def _blocks(lines: list[str], top: int, depth: int) -> str:
    found: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif _FENCE.match(line):
            at = _fenced(lines, at, found)
        elif heading := _HEADING.match(line):
            level = min(len(heading[1]) + top - 1, 6)
            found.append(f"<h{level}>{_inline(heading[2])}</h{level}>")
            at += 1
        elif _RULE.match(line):
            found.append("<hr>")
            at += 1
        elif line.lstrip().startswith(">") and depth < DEEPEST:
            at, quoted = _while(lines, at, lambda row: row.lstrip().startswith(">"))
            inner = [row.lstrip()[1:].removeprefix(" ") for row in quoted]
            found.append(f"<blockquote>{_blocks(inner, top, depth + 1)}</blockquote>")
        elif _ITEM.match(line):
            at, rows = _while(lines, at, lambda row: bool(row.strip()) and bool(_ITEM.match(row) or row.startswith("  ")))
            found.append(_list(rows))
        elif "|" in line and at + 1 < len(lines) and _TABLE_LINE.match(lines[at + 1]):
            at, rows = _while(lines, at, lambda row: "|" in row and bool(row.strip()))
            found.append(_table(rows))
        else:
            first = at
            at, rows = _while(lines, at + 1, lambda row: bool(row.strip()) and not _begins(row))
            text = "\n".join(row.strip() for row in [lines[first], *rows])
            found.append(f"<p>{_inline(text)}</p>")
    return "\n".join(found)


def _begins(line: str) -> bool:
    """Whether a line ends the paragraph before it."""
    return bool(_FENCE.match(line) or _HEADING.match(line) or _ITEM.match(line) or _RULE.match(line) or line.lstrip().startswith(">"))


def _while(lines: list[str], at: int, holds: Callable[[str], bool]) -> tuple[int, list[str]]:
    """The lines from ``at`` on that hold, and where they end."""
    end = at
    while end < len(lines) and holds(lines[end]):
        end += 1
    return end, lines[at:end]


def _fenced(lines: list[str], at: int, found: list[str]) -> int:
    mark = _FENCE.match(lines[at])
    assert mark is not None
    end = at + 1
    while end < len(lines) and not lines[end].strip().startswith(mark[1]):
        end += 1
    found.append(f'<pre class="code" tabindex="0"><code>{escape(chr(10).join(lines[at + 1 : end]))}</code></pre>')
    return end + 1


def _list(rows: list[str]) -> str:
    """One list and the lists one level below it; a line without a mark goes on with the item before it."""
    first = _ITEM.match(rows[0])
    assert first is not None
    indent = len(first[1])
    items: list[list[str]] = []
    for row in rows:
        item = _ITEM.match(row)
        if item and len(item[1]) <= indent + 1:
            items.append([item[3]])
        else:
            items[-1].append(row)
    tag = "ol" if first[2][0].isdigit() else "ul"
    start = int(first[2][:-1]) if tag == "ol" else 1
    opening = f'<ol start="{start}">' if start != 1 else f"<{tag}>"
    return f"{opening}{''.join(_item(item) for item in items)}</{tag}>"


def _item(rows: list[str]) -> str:
    below = next((at for at, row in enumerate(rows) if at and _ITEM.match(row)), len(rows))
    text = _boxed(" ".join(row.strip() for row in rows[:below]))
    inner = ""
    if below < len(rows):
        flat = [row for row in rows[below:] if row.strip()]
        inner = f"<ul>{''.join(f'<li>{_inline(_unmarked(row))}</li>' for row in flat)}</ul>"
    return f"<li>{_inline(text)}{inner}</li>"


def _unmarked(row: str) -> str:
    item = _ITEM.match(row)
    return _boxed(item[3]) if item else row.strip()


def _boxed(text: str) -> str:
    """An item's text, its box drawn."""
    for written, sign in (("[ ] ", "☐ "), ("[x] ", "☑ "), ("[X] ", "☑ ")):
        if text.startswith(written):
            return sign + text[len(written) :]
    return text


def _table(rows: list[str]) -> str:
    cells = [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in rows if not _TABLE_LINE.match(row)]
    head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in cells[0])
    width = len(cells[0])
    body = "".join(f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in [*row, *[''] * width][:width])}</tr>" for row in cells[1:])
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table"><table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'  # noqa: E501


def _inline(text: str, depth: int = 0) -> str:
    """Escaped text with code, links and emphasis."""
    if depth > DEEPEST:
        return escape(text)
    parts, at = [], 0
    for found in _INLINE.finditer(text):
        parts.append(escape(text[at : found.start()]))
        at = found.end()
        if found["coded"] is not None:
            parts.append(f"<code>{escape(found['coded'].strip())}</code>")
        elif found["url"] is not None:
            parts.append(_link(found["url"], _inline(found["label"], depth + 1), found[0]))
        elif found["bare"] is not None:
            parts.append(_link(found["bare"], escape(found["bare"]), found[0]))
        elif found["bold"] is not None:
            parts.append(f"<strong>{_inline(found['bold'], depth + 1)}</strong>")
        else:
            parts.append(f"<em>{_inline(found['italic'], depth + 1)}</em>")
    return "".join(parts) + escape(text[at:])


def _link(url: str, shown: str, written: str) -> str:
    """A link where its address is one that a link may have; else what was written."""
    if not _SAFE.match(url) or "<a " in shown:
        return escape(written)
    return f'<a href="{escape(url)}" rel="noopener noreferrer">{shown}</a>'
