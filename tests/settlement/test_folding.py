"""Under load rollups are brought up to date beside settling: batches go on meanwhile, and every sum is added once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from apps.settlement import services, shipper
from apps.settlement.shipper import Shipper
from apps.usage.models import UsageRequest
from tests.settlement.test_services import create, rollups_equal_rows, write

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_usage")]

Fold = Callable[..., int]


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shipper:
    """A shipper for whom batches of forty are many, and five such batches before it."""
    monkeypatch.setattr(shipper, "BATCH_ROWS", 40)
    monkeypatch.setattr(shipper, "FOLD_ROWS", 40)
    journal, traffic = create(tmp_path)
    for _ in range(200):
        write(journal, *traffic.pair())
    journal.close()
    return Shipper(tmp_path)


def settle_on(shipper: Shipper) -> None:
    while any(shipper.round(force=True)):
        pass


def pending() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM usage_rollup_pending")
        found: int = cursor.fetchone()[0]
    return found


def test_batches_are_stored_while_others_are_folded(busy: Shipper, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Fold = services.rollups_fold
    may_go, folded = threading.Event(), []

    def fold(**given: Any) -> int:
        if threading.current_thread() is not threading.main_thread():
            assert may_go.wait(120)
            folded.append(real(**given))
            return folded[-1]
        return real(**given)

    monkeypatch.setattr(services, "rollups_fold", fold)
    for _ in range(3):
        busy.round()
    assert (UsageRequest.objects.count(), pending()) == (120, 3)  # the first one's fold has not even begun
    may_go.set()
    settle_on(busy)
    busy.close()
    assert folded and folded[0] >= 3
    assert (UsageRequest.objects.count(), pending()) == (200, 0)
    rollups_equal_rows()


def test_a_fold_that_fails_is_a_round_that_fails_and_loses_nothing(busy: Shipper, monkeypatch: pytest.MonkeyPatch) -> None:
    real, stop = services.rollups_fold, threading.Event()

    def fold(**given: Any) -> int:
        if threading.current_thread() is not threading.main_thread():
            raise OperationalError("the server closed the connection unexpectedly")
        return real(**given)

    monkeypatch.setattr(services, "rollups_fold", fold)
    busy.round()
    with pytest.raises(OperationalError, match="closed the connection"):
        settle_on(busy)
    stop.set()
    busy.run(stop)  # begins again from the watermarks, and ends where all is settled
    assert (UsageRequest.objects.count(), pending()) == (200, 0)
    rollups_equal_rows()
