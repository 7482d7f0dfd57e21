"""The hours of own GPUs in a browser: many deployments in the dark, wide and narrow; under ``make accept`` also few and none, and light."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser import WHOLE
from tests.browser.conftest import ROOT, Site, Watched, serve
from tests.browser.looks import check, resized, settled


@pytest.fixture(scope="module")
def site(session_postgres: Any, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One of its own: hours would stand on the pages that other tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BULKHEAD_GPU_HOUR_PRICES", "H100=3.90")
        with serve(session_postgres, template_database, tmp_path_factory, seed=("tests.browser.seed", "30"), name="hours") as served:
            subprocess.run([sys.executable, "-m", "tests.browser.hours_seed"], cwd=ROOT, env=served.environment, check=True)
            yield served


@pytest.mark.slow
@pytest.mark.parametrize(("slug", "there"), [("a-lot", True), *([("a-little", True), ("nothing", False)] if WHOLE else [])])
def test_own_gpus_on_the_page_of_what_was_in_vain(open_tab: Callable[..., Watched], site: Site, slug: str, there: bool) -> None:
    for scheme in ("light", "dark") if WHOLE else ("dark",):
        page = open_tab(scheme=scheme)
        tab = page.tab
        tab.goto(f"{site.url}/spend/waste/?org={slug}")
        settled(tab)
        assert tab.locator("#own-gpus").count() == int(there)
        for width in (1440, 390):
            resized(tab, width)
            page.shot(f"own-gpus-{slug}-{scheme}-{width}")
            assert check(tab, axe=width == 1440) == []
        assert page.violations() == []
