"""Which change is suspected, how much, and what is said for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from apps.postmortems import suspicion
from apps.postmortems.suspicion import KINDS, Affected, Change, judge, suspects

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
HIT = Affected(NOON, routes=frozenset({"chat"}), used=frozenset({"east"}))


def change(minutes: float, kind: str = suspicion.PUBLISH, key: str = "fact:1", **more: object) -> Change:
    return Change(key, kind, NOON - timedelta(minutes=minutes), "It changed", **more)  # type: ignore[arg-type]


def test_what_touched_the_hit_route_shortly_before_comes_first_and_says_why() -> None:
    found = suspects(
        [
            change(40, key="fact:old", routes=frozenset({"chat"})),
            change(3, key="fact:elsewhere", routes=frozenset({"search"})),
            change(3, key="fact:chat", routes=frozenset({"chat"}), undo="v9 can be taken back with one click"),
            change(3, key="fact:east", providers=frozenset({"east"})),
            change(-5, key="fact:after", routes=frozenset({"chat"})),
        ],
        HIT,
    )
    assert [one.change.key for one in found] == ["fact:chat", "fact:east", "fact:old", "fact:elsewhere", "fact:after"]
    best = found[0]
    assert best.word == "strong" and best.evidence == (
        "it happened 3 minutes before the beginning",
        "it touched route chat, which is hit",
        "it changed what proxies do",
        "v9 can be taken back with one click",
    )
    assert "which hit routes use" in " ".join(found[1].evidence)
    assert "it touched nothing that is hit" in found[3].evidence and found[3].word == "weak"
    assert any("5 minutes after the beginning, so it did not begin it" in one for one in found[4].evidence)


kinds = st.sampled_from(sorted(KINDS))
leads = st.floats(0, 59, allow_nan=False)


@given(kinds, leads, leads, st.booleans())
def test_nearer_in_time_is_never_less_suspect(kind: str, one: float, other: float, direct: bool) -> None:
    routes = frozenset({"chat"}) if direct else frozenset()
    near, far = sorted((one, other))
    assert judge(change(near, kind, routes=routes), HIT).points >= judge(change(far, kind, routes=routes), HIT).points


@given(kinds, leads)
def test_what_it_touched_counts_in_order_and_points_stay_in_bounds(kind: str, lead: float) -> None:
    scopes = ({"routes": frozenset({"chat"})}, {"providers": frozenset({"east"})}, {"wide": True}, {"routes": frozenset({"other"})})
    points = [judge(change(lead, kind, **scope), HIT).points for scope in scopes]
    assert points == sorted(points, reverse=True) and all(0 <= one <= 100 for one in points)


@given(kinds, leads, st.floats(2, 14, allow_nan=False), st.booleans())
def test_what_came_after_never_stands_before_what_touched_the_same_earlier(kind: str, lead: float, late: float, undo: bool) -> None:
    before = change(lead, kind, routes=frozenset({"chat"}))
    after = change(-late, kind, routes=frozenset({"chat"}), undo="it can be" if undo else "")
    assert judge(after, HIT).points <= judge(before, HIT).points


def test_where_nothing_is_named_every_change_counts_as_wide() -> None:
    found = judge(change(5, routes=frozenset({"chat"})), Affected(NOON))
    assert "nothing is named yet" in " ".join(found.evidence)
