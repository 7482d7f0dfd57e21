"""Listings: sort, pages and CSV from a URL that may say anything, for rows in memory and in the database."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Organisation
from apps.ui.tables import PAGE_SIZE, Chip, Column, Empty, Listing, listing_build

NOTHING = Empty("nothing-yet", "Nothing yet")
COLUMNS: list[Column[tuple[str, int | None]]] = [
    Column("Name", "name", value=lambda row: row[0]),
    Column("Size", "size", numeric=True, value=lambda row: row[1]),
    Column("Actions"),
]


def build(query: dict[str, str], rows: Any, **more: Any) -> Listing[Any]:
    return listing_build(query, label="things", columns=COLUMNS, rows=rows, default_sort="name", nothing_yet=NOTHING, **more)


def test_sorting_leaves_the_unknown_at_the_end_both_ways() -> None:
    rows = [("b", 2), ("A", None), ("c", 1)]
    assert [row[0] for row in build({}, rows).rows] == ["A", "b", "c"]
    assert [row[0] for row in build({"sort": "size"}, rows).rows] == ["c", "b", "A"]
    assert [row[0] for row in build({"sort": "-size"}, rows).rows] == ["b", "c", "A"]


@given(st.dictionaries(st.sampled_from(["sort", "page"]), st.text(max_size=30)))
def test_any_url_gives_a_page(query: dict[str, str]) -> None:
    listing = build(query, [(str(at), at) for at in range(60)])
    assert 1 <= listing.page <= listing.pages == 2 and listing.rows and listing.sort in {"name", "-name", "size", "-size"}


def test_a_page_past_the_end_is_the_last() -> None:
    listing = build({"page": "99"}, [(f"{at:03}", at) for at in range(PAGE_SIZE + 1)])
    assert (listing.page, listing.first, listing.last, listing.next, listing.previous) == (2, PAGE_SIZE + 1, PAGE_SIZE + 1, 0, 1)


def test_nothing_yet_and_nothing_that_matches_are_told_apart() -> None:
    assert build({}, []).empty is NOTHING
    found = build({}, [], chips=[Chip("Name", "x", "q")]).empty
    assert found is not None and found.kind == "no-match"
    assert build({}, [("a", 1)]).empty is None


def test_csv_holds_all_rows_as_filtered_and_sorted_and_no_formula() -> None:
    listing = build({"sort": "-size"}, [(f"=cmd|{at}", at) for at in range(PAGE_SIZE * 2)])
    text = "".join(part.decode() for part in listing.csv("things.csv").streaming_content)  # type: ignore[union-attr]
    rows = list(csv.reader(io.StringIO(text.lstrip("\ufeff"))))
    assert rows[0] == ["Name", "Size"] and len(rows) == PAGE_SIZE * 2 + 1
    assert rows[1] == ["'=cmd|99", "99"]


@pytest.mark.django_db
def test_a_queryset_takes_two_queries_and_a_fixed_order() -> None:
    for at in range(PAGE_SIZE + 5):
        Organisation.objects.create(name="same", slug=f"s-{at}")
    columns: list[Column[Organisation]] = [Column("Name", "name", order=("name",)), Column("Slug", "slug")]
    seen: list[str] = []
    for page in ("1", "2"):
        rows = Organisation.objects.filter(name="same")
        query = {"page": page, "sort": "-name"}
        with CaptureQueriesContext(connection) as queries:
            listing = listing_build(query, label="o", columns=columns, rows=rows, default_sort="name", nothing_yet=NOTHING)
        assert len(queries) == 2
        seen += [row.slug for row in listing.rows]
    assert len(set(seen)) == len(seen) == PAGE_SIZE + 5
