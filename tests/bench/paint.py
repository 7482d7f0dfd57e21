"""First contentful paint of a running dashboard's pages with a cold cache: p50 and p95, beside the server's time and what was fetched.

    python -m tests.bench.paint --url http://127.0.0.1:8000 --email E --password P [--org SLUG] [--rounds 10] [--path /routes/ ...]

Each round is a browser context of its own, so nothing is cached; the browser itself is started once. A busy machine shows in the
figures: the load average stands below them. Exits with 1 where a page's median is a second or more.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from typing import Any

LIMIT_MS = 1_000
MEASURED = """() => {
    const [page] = performance.getEntriesByType("navigation");
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    const before = performance.getEntriesByType("resource").filter((one) => one.startTime < (paint ? paint.startTime : 0));
    return {
        paint: paint ? paint.startTime : null,
        server: page.responseStart - page.requestStart,
        requests: before.length,
        kilobytes: (page.transferSize + before.reduce((sum, one) => sum + one.transferSize, 0)) / 1024,
    };
}"""


def main() -> int:
    """Prints a line for each page."""
    from tests.browser.looks import browser_open, sign_in

    parser = argparse.ArgumentParser(description="First contentful paint of the dashboard's pages, with a cold cache.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--email", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--org", default="")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--path", action="append")
    given = parser.parse_args()
    slow = 0
    with browser_open() as browser:
        state = sign_in(browser, url=given.url, email=given.email, password=given.password)
        print(f"{'page':24} {'paint p50':>9} {'p95 ms':>8} {'server p50':>10} {'p95 ms':>8} {'requests':>8} {'KB':>6}")
        for path in ("/login/", *(given.path or _places())):
            rounds = [_open(browser, f"{given.url}{path}", given.org, None if path == "/login/" else state) for _ in range(given.rounds)]
            paints, servers = [one["paint"] for one in rounds], [one["server"] for one in rounds]
            slow += statistics.median(paints) >= LIMIT_MS
            figures = (statistics.median(paints), _p95(paints), statistics.median(servers), _p95(servers))
            print(
                f"{path:24} " + "{:9.0f} {:8.0f} {:10.0f} {:8.0f}".format(*figures),
                f"{rounds[-1]['requests']:8} {rounds[-1]['kilobytes']:6.0f}", flush=True,
            )  # fmt: skip
    print("load average: " + " ".join(f"{load:.1f}" for load in os.getloadavg()))
    return 1 if slow else 0


def _places() -> list[str]:
    """The address of every place in the rail, and of the catalogue."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()
    from apps.ui.navigation import RAIL

    return [*(place.url for job in RAIL for place in job.places if place.url), "/ui/"]


def _open(browser: Any, url: str, org: str, state: Any) -> dict[str, Any]:
    """One opening of a page with nothing cached."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, storage_state=state)
    try:
        tab = context.new_page()
        tab.goto(f"{url}?org={org}" if org else url, wait_until="load")
        tab.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length > 0")
        found: dict[str, Any] = tab.evaluate(MEASURED)
        return found
    finally:
        context.close()


def _p95(values: list[float]) -> float:
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


if __name__ == "__main__":
    sys.exit(main())
