"""The table that stands for all apps' rows, in the test's transaction or, for tests that commit, for real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apps.publishing import state
from tests.publishing.rows import create_table, drop_table


@pytest.fixture
def rows(db: None) -> None:
    create_table()


@pytest.fixture
def committed_rows(transactional_db: None) -> Iterator[None]:
    create_table()
    yield
    drop_table()


@pytest.fixture(autouse=True)
def _cold_cache() -> None:
    state.remember(state.ConfigState())
