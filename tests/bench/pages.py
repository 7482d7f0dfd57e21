"""Server time of the dashboard's pages over the database of ``DATABASE_URL``: wall and CPU, p50 and p95, and how many queries.

    DATABASE_URL=... python -m tests.bench.pages --email E [--org SLUG] [--rounds 20] [--only REGEX]

In this process, without a browser or a network, so that CPU time (ours, and the mean of PostgreSQL's backend) can be told from waiting on a
shared machine: where that is busy, wall time says more of its other work than of a page, and CPU (ours at p50, and the backend's) is what
to judge by. Pages come from the URL configuration, as in the gallery; beside them stand those whose price follows from what their
address asks for (``ASKED``): long ranges, comparisons, rare filters, panels that are fetched by themselves. Exits with 1 where a page asks
more than twelve queries or its p95 is 150 ms or more; pages of 75 ms of CPU and more are named too.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote

MOST_QUERIES, MOST_MS, MOST_CPU_MS = 12, 150.0, 75.0
RANGES = ("now-1h", "now-24h", "now-7d", "now-30d")
ASKED: dict[str, str] = {
    **{f"overview {of}": f"/?from={of}" for of in RANGES[1:]},
    **{f"board {of}": f"/dashboards/?from={of}" for of in RANGES},
    **{f"board {of} compared": f"/dashboards/?from={of}&compare=before" for of in RANGES},
    **{f"boards of {kind}s {of}": f"/dashboards/{kind}/?from={of}" for kind in ("route", "model", "key") for of in ("now-24h", "now-30d")},
    **{
        f"board of a {kind} compared": f"/dashboards/{kind}/?from=now-24h&compare=1d&value={{{kind}}}"
        for kind in ("route", "provider", "model", "region", "key", "team")
    },
    **{
        f"panel {name} {of}": f"/dashboards/panels/{name}/?from={of}" for name in ("failing", "slowest", "costliest") for of in RANGES[1::2]
    },
    "requests slowest 30 days": "/requests/?from=now-30d&sort=slowest",
    "requests of a user": "/requests/?from=now-30d&user=user-77",
    "requests of a provider": "/requests/?from=now-30d&provider={provider}",
    "requests failed at a model": "/requests/?from=now-7d&outcome=error&model={model}",
    "spend by user 90 days": "/spend/by/user/?period=90d",
    "spend by key 90 days": "/spend/by/key/?period=90d",
    "estimate of a route": "/budgets/estimate/?route={route}",
}
"""Addresses with what they ask for; ``{route}`` and its like is the busiest value of that kind."""


def main() -> int:
    """Prints a line for each page."""
    import django

    parser = argparse.ArgumentParser(description="Server time of the dashboard's pages.")
    parser.add_argument("--email", required=True)
    parser.add_argument("--org", default="")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()

    from django.conf import settings
    from django.db import connection
    from django.test import Client

    from apps.accounts.models import User
    from tests.browser.gallery import OBJECTS, VIEWS, pages

    settings.ALLOWED_HOSTS = ["testserver", *settings.ALLOWED_HOSTS]
    connection.settings_dict["CONN_MAX_AGE"] = None  # one backend for all, whose CPU time can be read
    client = Client()
    client.force_login(User.objects.get(email=given.email))
    client.get("/", {"org": given.org} if given.org else {})  # remembered from here on
    gc.collect()
    gc.freeze()  # as the web process does once it has imported everything (controlplane.asgi)
    known: dict[str, str] = {}

    def first(group: str) -> str:
        _, listed, pattern = OBJECTS[group]
        if group not in known:
            text = client.get(listed.format(**{OBJECTS[one][0]: value for one, value in known.items()})).content.decode()
            links = (link.split("?")[0] for link in re.findall(r'href="([^"]+)"', text))
            known[group] = next((match.group(1) for link in links if (match := re.search(pattern, link))), "")
        return known[group]

    def addresses() -> Iterator[tuple[str, str]]:
        for page in pages():
            names = re.findall(r"{(\w+)}", page.pattern)
            sources = [page.name if page.name in OBJECTS and OBJECTS[page.name][0] == name else page.name.split(":")[0] for name in names]
            values = {name: first(source) for name, source in zip(names, sources, strict=True)}
            if all(values.values()):
                yield page.name, page.pattern.format(**values)
                for view in VIEWS.get(page.name, ()):
                    yield f"{page.name} {view}", f"{page.pattern.format(**values)}?tab={view}"
        busiest = {kind: _busiest(client, kind) for kind in ("route", "provider", "model", "region", "key", "team")}
        for name, address in ASKED.items():
            if all(busiest[kind] for kind in re.findall(r"{(\w+)}", address)):
                yield name, address.format(**busiest)

    most, slowest, slow, dear = 0, 0.0, [], []
    print(f"{'page':34} {'queries':>7} {'wall p50':>9} {'p95 ms':>8} {'CPU p50':>9} {'p95 ms':>8} {'PG CPU':>9} {'KB':>5}")
    for name, url in addresses():
        if given.only and not re.search(given.only, name):
            continue
        queries: list[str] = []

        def count(execute: Any, query: str, params: Any, many: bool, context: Any, said: list[str] = queries) -> Any:
            said.append(query)
            return execute(query, params, many, context)

        with connection.execute_wrapper(count):
            answer: Any = client.get(url)
        if answer.status_code != 200:
            continue
        size = len(b"".join(answer)) if answer.streaming else len(answer.content)
        client.get(url)
        walls, cpus = [], []
        ticks = _backend_ticks(connection)
        for _ in range(given.rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            client.get(url)
            walls.append((time.perf_counter() - wall) * 1e3)
            cpus.append((time.process_time() - cpu) * 1e3)
        most, slowest = max(most, len(queries)), max(slowest, _p95(walls))
        if _p95(walls) >= MOST_MS:
            slow.append(name)
        figures = (statistics.median(walls), _p95(walls), statistics.median(cpus), _p95(cpus))
        backend = (_backend_ticks(connection) - ticks) * 1e3 / os.sysconf("SC_CLK_TCK") / given.rounds
        if (spent := statistics.median(cpus) + backend) >= MOST_CPU_MS:
            dear.append(f"{name} {spent:.0f}")
        print(
            f"{name:34} {len(queries):7} " + "{:9.0f} {:8.0f} {:9.0f} {:8.0f}".format(*figures) + f" {backend:9.0f} {size / 1024:5.0f}",
            flush=True,
        )
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(
        f"most queries {most}; slowest p95 {slowest:.0f} ms; at {MOST_MS:.0f} ms or more: {', '.join(slow) or 'none'}; load average {load}"
    )
    print(f"{MOST_CPU_MS:.0f} ms of CPU or more: {', '.join(dear) or 'none'}")
    return 1 if most > MOST_QUERIES or slow else 0


def _busiest(client: Any, kind: str) -> str:
    """The first value of a list of dashboards."""
    links = re.findall(rf'href="/dashboards/{kind}/\?([^"]+)"', client.get(f"/dashboards/{kind}/?from=now-24h").content.decode())
    values = (parse_qs(link.replace("&amp;", "&")).get("value", [""])[0] for link in links)
    return next((quote(value) for value in values if value), "")


def _backend_ticks(connection: Any) -> int:
    """CPU time of our PostgreSQL backend in clock ticks; 0 where it runs elsewhere."""
    connection.ensure_connection()
    try:
        with open(f"/proc/{connection.connection.info.backend_pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _p95(values: list[float]) -> float:
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


if __name__ == "__main__":
    sys.exit(main())
