"""Server time of the dashboard's pages over the database of ``DATABASE_URL``: wall and CPU, p50 and p95, and how many queries.

    DATABASE_URL=... python -m tests.bench.pages --email E [--org SLUG] [--rounds 20] [--only REGEX]

In this process, without a browser or a network, so that CPU time (ours, and the mean of PostgreSQL's backend) can be told from waiting on a
shared machine. Pages come from the URL configuration, as in the gallery.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import time
from typing import Any


def main() -> int:
    """Prints a line for each page; 1 when one asks more than twelve queries."""
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
    from tests.browser.gallery import OBJECTS, pages

    settings.ALLOWED_HOSTS = ["testserver", *settings.ALLOWED_HOSTS]
    connection.settings_dict["CONN_MAX_AGE"] = None  # one backend for all, whose CPU time can be read
    client = Client()
    client.force_login(User.objects.get(email=given.email))
    asked: dict[str, str] = {"org": given.org} if given.org else {}
    known: dict[str, str] = {}

    def first(group: str) -> str:
        _, listed, pattern = OBJECTS[group]
        if group not in known:
            text = client.get(listed.format(**{OBJECTS[one][0]: value for one, value in known.items()}), asked).content.decode()
            links = (link.split("?")[0] for link in re.findall(r'href="([^"]+)"', text))
            known[group] = next((match.group(1) for link in links if (match := re.search(pattern, link))), "")
        return known[group]

    most = 0
    print(f"{'page':34} {'queries':>7} {'wall p50':>9} {'p95 ms':>8} {'CPU p50':>9} {'p95 ms':>8} {'PG CPU':>9}")
    for page in pages():
        if given.only and not re.search(given.only, page.name):
            continue
        names = re.findall(r"{(\w+)}", page.pattern)
        sources = [page.name if page.name in OBJECTS and OBJECTS[page.name][0] == name else page.name.split(":")[0] for name in names]
        values = {name: first(source) for name, source in zip(names, sources, strict=True)}
        if not all(values.values()):
            continue
        url = page.pattern.format(**values)
        queries: list[str] = []

        def count(execute: Any, query: str, params: Any, many: bool, context: Any, said: list[str] = queries) -> Any:
            said.append(query)
            return execute(query, params, many, context)

        with connection.execute_wrapper(count):
            answer: Any = client.get(url, asked)
        if answer.status_code != 200:
            continue
        walls, cpus = [], []
        ticks = _backend_ticks(connection)
        for _ in range(given.rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            client.get(url, asked)
            walls.append((time.perf_counter() - wall) * 1e3)
            cpus.append((time.process_time() - cpu) * 1e3)
        most = max(most, len(queries))
        figures = (statistics.median(walls), _p95(walls), statistics.median(cpus), _p95(cpus))
        backend = (_backend_ticks(connection) - ticks) * 1e3 / os.sysconf("SC_CLK_TCK") / given.rounds
        print(f"{page.name:34} {len(queries):7} " + "{:9.0f} {:8.0f} {:9.0f} {:8.0f}".format(*figures) + f" {backend:9.0f}", flush=True)
    return 1 if most > 12 else 0


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
