"""Ten thousand fragments: one change ships one fragment. Times are printed (``pytest -s``), sizes are asserted."""

from __future__ import annotations

import time

import pytest
from django.db import connection

from apps.contracts.snapshot import FlagFragment, PriceFragment, PriceVersion
from apps.publishing import state
from apps.publishing.services import publish
from tests.publishing.rows import ACTOR, key, provider, route, rows_write, sections

KEYS, ROUTES = 9_000, 1_000


def flag(on: bool) -> FlagFragment:
    return FlagFragment(
        id="01890000-0000-7000-8000-000000000001",
        name="stop chat",
        organisation="o1",
        kind="kill",
        subject="route",
        subject_id="r1",
        on=on,
        reason="slow",
    )


@pytest.mark.slow
@pytest.mark.usefixtures("rows")
def test_one_flip_among_ten_thousand_objects() -> None:
    rows_write("providers", provider())
    rows_write(
        "prices",
        PriceFragment(id="openai/gpt-x", provider="openai", model="gpt-x", versions=[PriceVersion(version="1", input=1, output=2)]),
    )
    rows_write("routes", *(route(f"r{n}", name=f"route-{n}") for n in range(ROUTES)))
    rows_write("keys", *(key(f"k{n}") for n in range(KEYS)))
    rows_write("flags", flag(on=False))
    registered = sections()

    started = time.perf_counter()
    publish(actor=ACTOR, sections=registered)
    whole = time.perf_counter() - started

    rows_write("flags", flag(on=True))
    started = time.perf_counter()
    version = publish(actor=ACTOR, sections=registered)
    flip = time.perf_counter() - started
    assert version is not None and version.diff["flags"][flag(True).id]["fields"]["on"] == [False, True]

    state.remember(state.ConfigState())
    rows_write("keys", key("k17", feature="new"))
    started = time.perf_counter()
    publish(actor=ACTOR, sections=registered)
    cold = time.perf_counter() - started

    rows_write("keys", key("k18", feature="new"))
    started = time.perf_counter()
    publish(actor=ACTOR, sections=registered)
    warm_key = time.perf_counter() - started

    with connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.execute("SELECT version, section, object_id, body FROM proxy_api.config_delta(1)")
        rows = cursor.fetchall()
        fetch = time.perf_counter() - started
        started = time.perf_counter()
        cursor.execute("SELECT version, section, object_id, body FROM proxy_api.config_delta(0)")
        everything = cursor.fetchall()
        full_fetch = time.perf_counter() - started
    flips = [row for row in rows if row[1] == "flags"]
    assert len(rows) == 3 and len(flips) == 1
    assert sum(len(str(row[0])) + len(row[1]) + len(row[2]) + len(row[3]) for row in flips) < 4096
    assert len(everything) == KEYS + ROUTES + 3
    print(
        f"\n{KEYS + ROUTES + 3} fragments: publish of all {whole * 1e3:.0f} ms;"
        f" of one flip {flip * 1e3:.1f} ms; of one key {warm_key * 1e3:.1f} ms,"
        f" {cold * 1e3:.0f} ms in a fresh process; delta of 3 changes {fetch * 1e3:.2f} ms, of everything {full_fetch * 1e3:.0f} ms"
    )
