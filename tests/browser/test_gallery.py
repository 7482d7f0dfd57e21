"""Every address of the dashboard is photographed by the gallery, or named there with the reason why not; no page of it has a fault."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.launcher.postgres import Postgres
from tests.browser import WHOLE, gallery
from tests.browser.conftest import ROOT, Site, serve
from tests.browser.seed import EMAIL, PASSWORD


def test_every_address_has_a_picture_or_a_reason() -> None:
    known = {page.name for page in gallery.addresses()}
    named = gallery.ACTS | gallery.PARTS | gallery.ALONE.keys() | gallery.VIEWS.keys()
    assert named <= known, f"gone from the URL configuration: {sorted(named - known)}"
    for page in gallery.pages():
        for parameter in re.findall(r"{(\w+)}", page.pattern):
            sources = (gallery.OBJECTS.get(page.name), gallery.OBJECTS.get(page.name.split(":")[0]))
            assert any(source and source[0] == parameter for source in sources), f"{page.name}: where does {parameter} come from?"


@pytest.fixture(scope="module")
def full(session_postgres: Postgres, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with long lists, prices, limits and budgets, and with nothing."""
    with serve(session_postgres, template_database, tmp_path_factory, seed=("tests.browser.seed", "3000"), name="gallery") as served:
        seeding = [sys.executable, "-m", "tests.browser.gallery_seed", "300"]
        subprocess.run(seeding, cwd=ROOT, env=served.environment, check=True, stdout=subprocess.DEVNULL)
        yield served


@pytest.mark.browser
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not WHOLE, reason="BULKHEAD_ACCEPT=1 looks at every page in every state: half an hour")
@pytest.mark.parametrize("organisation", ["a-lot", "a-little", "nothing", "naughty"])
def test_no_page_is_too_wide_blocked_or_hard_to_read(chromium: Any, full: Site, tmp_path: Path, organisation: str) -> None:
    state = gallery.sign_in(chromium, url=full.url, email=EMAIL, password=PASSWORD)
    given = {"url": full.url, "state": state, "out": tmp_path, "org": organisation, "pictures": False}
    found = gallery.photograph(chromium, widths=(1440,), **given)
    found += gallery.photograph(chromium, widths=(390,), axe=False, **given)
    assert len(found) > 100
    assert {shot.name: shot.faults for shot in found if shot.faults} == {}
