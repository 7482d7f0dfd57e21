"""The usage tables are made by SQL, so Django's flush between tests does not know them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


def _empty() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        tables = "usage_request, usage_rollup_10s, usage_rollup_1m, usage_rollup_1h, usage_rollup_pending, usage_summary, usage_feedback"
        cursor.execute(f"TRUNCATE {tables}")


@pytest.fixture
def empty_usage(transactional_db: None) -> Iterator[None]:
    _empty()
    yield
    _empty()
