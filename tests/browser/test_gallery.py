"""Every address of the dashboard is photographed by the gallery, or named there with the reason why not; no page of it has a fault."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import WHOLE, gallery
from tests.browser.conftest import ROOT, SHOTS, Site, serve
from tests.browser.looks import browser_open, sign_in
from tests.browser.seed import EMAIL, PASSWORD

SITE = os.environ.get("BULKHEAD_SITE")
"""The address of a dashboard that runs and was filled with ``tests.browser.seed`` and ``gallery_seed``: the walk needs none of its own."""


def test_every_address_has_a_picture_or_a_reason() -> None:
    known = {page.name for page in gallery.addresses()}
    named = gallery.ACTS | gallery.PARTS | gallery.ALONE.keys() | gallery.LINKED.keys() | gallery.VIEWS.keys()
    assert named <= known, f"gone from the URL configuration: {sorted(named - known)}"
    for page in gallery.pages():
        for parameter in re.findall(r"{(\w+)}", page.pattern):
            sources = (gallery.OBJECTS.get(page.name), gallery.OBJECTS.get(page.name.split(":")[0]))
            assert any(source and source[0] == parameter for source in sources), f"{page.name}: where does {parameter} come from?"


@pytest.fixture(scope="module")
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with long lists, prices, limits and budgets, and with nothing: one of its own, or the one that ``BULKHEAD_SITE`` says."""
    if SITE:
        yield Site(SITE, "", {})
        return
    server, template = (request.getfixturevalue(name) for name in ("session_postgres", "template_database"))
    with serve(server, template, tmp_path_factory, seed=("tests.browser.seed", "3000"), name="gallery") as served:
        seeding = [sys.executable, "-m", "tests.browser.gallery_seed", "300"]
        subprocess.run(seeding, cwd=ROOT, env=served.environment, check=True, stdout=subprocess.DEVNULL)
        yield served


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """All tests' one browser; for a site that stands already one that waits for no database."""
    if not SITE:
        yield request.getfixturevalue("chromium")
        return
    with browser_open() as opened:
        yield opened


def test_every_page_is_in_one_part_of_the_walk() -> None:
    apps = [app for listed in gallery.AREAS.values() for app in listed]
    assert len(apps) == len(set(apps))
    here = {page.name.split(":")[0] for page in gallery.pages()} | {name.split(":")[0] for name in gallery.MORE}
    assert set(apps) <= here, f"no page has them: {sorted(set(apps) - here)}"
    assert {gallery.area_of(page.name) for page in gallery.pages()} == gallery.AREAS.keys()


@pytest.mark.browser
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not WHOLE, reason="BULKHEAD_ACCEPT=1 looks at every page in every state: half an hour; -k 'naughty and alerts': a part")
@pytest.mark.parametrize("area", list(gallery.AREAS))
@pytest.mark.parametrize("organisation", ["a-lot", "a-little", "nothing", "naughty"])
def test_no_page_is_too_wide_blocked_or_hard_to_read(browser: Any, full: Site, tmp_path: Path, organisation: str, area: str) -> None:
    if full.signed_in is None:
        full.signed_in = sign_in(browser, url=full.url, email=EMAIL, password=PASSWORD)
    out = Path(SHOTS) / organisation if SHOTS else tmp_path
    found = gallery.photograph(
        browser,
        url=full.url,
        state=full.signed_in,
        out=out,
        org=organisation,
        area=area,
        pictures=(gallery.LOOKS[0], gallery.LOOKS[-1]) if SHOTS else (),
    )
    assert len(found) >= 4 * 5  # pages of this area in four looks
    print(f"{organisation} {area}: {len(found)} looks")
    assert {shot.name: shot.faults for shot in found if shot.faults} == {}
