"""What the interface may weigh, before compression: all our stylesheets together, all our scripts together; and what they may hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

STATIC = Path(settings.BASE_DIR) / "static"
CSS = sorted((STATIC / "css").glob("*.css"))
JS = sorted((STATIC / "js").glob("*.js"))


def test_all_stylesheets_weigh_less_than_40_kilobytes() -> None:
    sizes = {path.name: path.stat().st_size for path in CSS}
    assert sum(sizes.values()) < 40_000, sizes


def test_all_our_scripts_weigh_less_than_20_kilobytes() -> None:
    sizes = {path.name: path.stat().st_size for path in JS}
    assert sum(sizes.values()) < 20_000, sizes


def test_no_stylesheet_or_script_lies_elsewhere() -> None:
    ours = {path for path in STATIC.rglob("*") if path.suffix in {".css", ".js"} and "vendor" not in path.parts}
    assert ours == {*CSS, *JS}


@pytest.mark.parametrize("path", JS, ids=lambda path: path.name)
def test_no_script_evaluates_text_or_writes_markup(path: Path) -> None:
    assert not re.search(
        r"\beval\(|new Function|innerHTML|outerHTML\s*=|insertAdjacentHTML|document\.write|\.style\.cssText", path.read_text()
    )


@pytest.mark.parametrize("path", [path for path in CSS if path.name not in {"tokens.css", "plots.css"}], ids=lambda path: path.name)
def test_colours_are_named_in_tokens_only(path: Path) -> None:
    assert not re.search(r"#[0-9a-f]{3,8}\b|rgba?\(|hsla?\(", path.read_text())


def test_every_token_that_is_used_is_defined() -> None:
    text = "".join(path.read_text() for path in CSS)
    defined = set(re.findall(r"(--[\w-]+):", text))
    assert set(re.findall(r"var\((--[\w-]+)", text)) <= defined
