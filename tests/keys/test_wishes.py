"""What a team's template allows: nothing against it means inside it, whatever is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.errors import ServiceError
from apps.contracts.limits import MEASURES
from apps.keys.wishes import Bounds, Wish, as_json, check, filled, of_json, outside

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
ROUTES = ("chat", "embed", "image")
routes = st.one_of(st.just(("*",)), st.sets(st.sampled_from(ROUTES), min_size=1).map(lambda found: tuple(sorted(found))))
limits = st.dictionaries(st.sampled_from(list(MEASURES)), st.integers(1, 50))
environments = st.sampled_from(["production", "staging", "development"])
bounds_of = st.builds(
    Bounds,
    routes=routes,
    environments=st.sets(environments).map(tuple),
    most_keys=st.integers(0, 3),
    longest_days=st.none() | st.integers(1, 30),
    limits=limits,
    budget_nano=st.none() | st.integers(1, 100),
    budget_window=st.sampled_from(["day", "month"]),
)
wish_of = st.builds(
    Wish,
    name=st.just("app"),
    environment=environments,
    routes=routes,
    expires_at=st.none() | st.integers(1, 60).map(lambda days: NOW + timedelta(days=days)),
    limits=limits,
    budget_nano=st.integers(0, 200),
    budget_window=st.sampled_from(["day", "month"]),
)


@given(bounds_of, wish_of, st.integers(0, 3))
def test_what_nothing_is_said_against_is_inside_the_bounds(bounds: Bounds, wish: Wish, keys: int) -> None:
    reasons = outside(bounds, wish, keys=keys, now=NOW)
    made = filled(bounds, wish, now=NOW)
    inside = (
        keys < bounds.most_keys
        and made.environment in bounds.environments
        and ("*" in bounds.routes or set(made.routes) <= set(bounds.routes))
        and (bounds.longest_days is None or (made.expires_at is not None and made.expires_at <= NOW + timedelta(days=bounds.longest_days)))
        and all(made.limits[kind] <= most for kind, most in bounds.limits.items())
        and (bounds.budget_nano is None or (0 < made.budget_nano <= bounds.budget_nano and made.budget_window == bounds.budget_window))
    )
    assert inside is (not reasons), reasons
    assert filled(bounds, made, now=NOW) == made


@given(bounds_of, wish_of)
def test_a_wish_keeps_what_it_says_and_comes_back_from_json(bounds: Bounds, wish: Wish) -> None:
    made = filled(bounds, wish, now=NOW)
    assert made.limits.items() >= wish.limits.items()
    assert not wish.budget_nano or made.budget_nano == wish.budget_nano
    assert wish.expires_at is None or made.expires_at == wish.expires_at
    assert of_json("app", as_json(wish)) == wish


def test_without_a_template_everything_is_asked_for() -> None:
    assert outside(None, Wish(name="app"), keys=0, now=NOW) == ["the team has no template for keys"]
    assert filled(None, Wish(name="app"), now=NOW) == Wish(name="app")


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (Wish(name="No"), "name"),
        (Wish(name="a", environment="prod"), "environment"),
        (Wish(name="a", limits={"requests": 1}), "limits"),
        (Wish(name="a", limits={"requests_per_minute": 0}), "requests_per_minute"),
        (Wish(name="a", budget_nano=-1), "budget"),
        (Wish(name="a", budget_window="year"), "budget_window"),
        (Wish(name="a", addresses=("office",)), "addresses"),
        (Wish(name="a", addresses=("10.0.0.0/8", "10.0.0.0/8")), "addresses"),
        (Wish(name="a", expires_at=datetime(2027, 1, 1)), "expires_at"),
    ],
)
def test_what_no_key_could_be_is_refused_at_its_field(wish: Wish, field: str) -> None:
    with pytest.raises(ServiceError) as caught:
        check(wish)
    assert caught.value.field == field
