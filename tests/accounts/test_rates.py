"""Rates that all web processes keep together: through a real Redis, and by each process alone while that is away."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.api import rates
from apps.accounts.api.rates import SharedRate


def both(url: str, clock: Any = None) -> tuple[SharedRate, SharedRate]:
    """The same rate in two web processes: one an hour, three at once."""
    more = {} if clock is None else {"clock": clock}
    one, two = (SharedRate("test", per_minute=1 / 60, burst=3, url=url, **more) for _ in range(2))
    return one, two


def test_what_one_process_lets_through_the_other_does_not(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "PATIENCE_SECONDS", 60.0)  # a busy machine is not a lost Redis
    rates.client.cache_clear()
    now = [1000.0]
    one, two = both(redis_server.url, lambda: now[0])
    assert one.wait("ada") == 0
    assert [one.take("ada"), two.take("ada"), one.take("ada")] == [0, 0, 0]
    assert 0 < two.take("ada") <= 3600 and 0 < one.wait("ada") <= 3600
    assert two.take("bo") == 0, "each name has its own"
    assert one.shared and one.counted == "in all web processes together"

    redis_server.kill()
    assert [one.take("ada") for _ in range(4)][:3] == [0, 0, 0], "alone, with a burst of its own"
    assert one.take("ada") > 0 and not one.shared and "Redis does not answer" in one.counted
    assert two.shared, "the other has not asked since"
    redis_server.start()
    now[0] += rates.REST_SECONDS + 1
    assert one.shared and one.take("cy") == two.take("cy") == 0 and one.shared
    rates.client.cache_clear()


def test_without_redis_each_process_counts_by_itself(settings: Any) -> None:
    settings.REDIS_WATCHED = ""
    one, two = (SharedRate("test", per_minute=1 / 60, burst=1) for _ in range(2))
    assert one.take("ada") == two.take("ada") == 0 and one.take("ada") > 0
    assert "no Redis is set up" in one.counted
