"""Rolling updates as a game: whatever starts, fails or vanishes between two steps, the bounds hold and the end is reached."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from apps.fleet.rollout import Member, Strategy, step

STRATEGIES = st.sampled_from(["auto", "surge", "in_place"])


def _play(
    old: int, wanted: int, strategy: Strategy, surge: int, unavailable: int, room: int, luck: list[bool]
) -> tuple[list[Member], list[int]]:
    """room: replicas that fit beside each other at most. Gives the members at the end and how many were ready after each step."""
    members = [Member(f"old{n}", 1, ready=True, age=100 - n) for n in range(old)]
    made, ready, fits = 0, [], True
    for turn in range(200):
        plan = step(members, revision=2, wanted=wanted, strategy=strategy, surge=surge, unavailable=unavailable, room=fits)
        draining = {name for name, _ in plan.drain}
        assert draining <= {member.id for member in members}
        standing_ready = sum(member.ready for member in members)
        members = [member for member in members if member.id not in draining]
        left = sum(member.ready for member in members)
        extra = 0 if strategy == "in_place" or (strategy == "auto" and not fits) else surge
        slack = unavailable if extra else max(1, unavailable)
        assert left >= min(standing_ready, wanted - slack)  # nothing that is ready goes below the floor
        placed = min(plan.start, max(0, room - len(members)))
        assert len(members) + plan.start <= max(wanted + extra, len(members))
        if plan.start:
            fits = placed == plan.start or placed > 0
        for _ in range(placed):
            made += 1
            members.append(Member(f"new{made}", 2, age=-turn))
        ready.append(sum(member.ready for member in members))
        if plan.done and all(member.ready for member in members):
            break
        lucky = luck[turn % len(luck)] if turn < 60 else True
        members = [Member(m.id, m.revision, ready=True, age=m.age) if not m.ready and lucky and m.revision == 2 else m for m in members]
    return members, ready


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 6),
    st.integers(0, 6),
    STRATEGIES,
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 3),
    st.lists(st.booleans(), min_size=1, max_size=20),
)
def test_every_rollout_ends_with_what_is_wanted(
    old: int, wanted: int, strategy: Strategy, surge: int, unavailable: int, spare: int, luck: list[bool]
) -> None:
    room = max(old, wanted) + (spare if strategy != "surge" else max(1, spare))
    members, _ = _play(old, wanted, strategy, surge, unavailable, room, luck)
    assert sorted((m.revision, m.ready) for m in members) == [(2, True)] * wanted


def test_a_surge_never_has_fewer_ready_than_wanted() -> None:
    members, ready = _play(3, 3, "surge", 1, 0, 4, [True])
    assert len(members) == 3
    assert min(ready) >= 3


def test_in_place_takes_one_away_first_and_waits_for_its_successor() -> None:
    old = [Member("a", 1, ready=True, age=2), Member("b", 1, ready=True, age=1)]
    first = step(old, revision=2, wanted=2, strategy="in_place")
    assert first.drain == (("b", "replaced by a newer revision"),)
    assert first.start == 1
    waiting = step([old[0], Member("c", 2)], revision=2, wanted=2, strategy="in_place")
    assert waiting.done


def test_a_new_revision_that_never_gets_ready_leaves_the_old_one_serving() -> None:
    members = [Member("a", 1, ready=True), Member("b", 2)]
    for _ in range(5):
        assert step(members, revision=2, wanted=1, strategy="surge").done


def test_without_room_auto_goes_in_place() -> None:
    members = [Member("a", 1, ready=True)]
    assert step(members, revision=2, wanted=1, room=True).start == 1
    assert step(members, revision=2, wanted=1, room=True).drain == ()
    assert step(members, revision=2, wanted=1, room=False).drain == (("a", "replaced by a newer revision"),)


def test_fewer_wanted_drains_what_does_not_serve_first() -> None:
    members = [Member("a", 1, ready=True, age=5), Member("b", 1, ready=False, age=9), Member("c", 1, ready=True, age=1)]
    plan = step(members, revision=1, wanted=1)
    assert {name for name, _ in plan.drain} == {"b", "c"}
    assert step(members, revision=1, wanted=0).start == 0
    assert len(step(members, revision=1, wanted=0).drain) == 3
