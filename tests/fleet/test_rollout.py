"""Rolling updates as a game: whatever starts, fails, vanishes or is cut off between two steps, the bounds hold and the end is reached."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from apps.fleet.rollout import UNREACHED, Member, Strategy, step

STRATEGIES = st.sampled_from(["auto", "surge", "in_place"])
LUCK = st.lists(st.booleans(), min_size=1, max_size=20)
WEATHER = st.lists(st.sampled_from(["", "", "cut", "mend"]), min_size=1, max_size=20)


def _play(
    old: int,
    wanted: int,
    strategy: Strategy,
    surge: int,
    unavailable: int,
    room: int,
    luck: list[bool],
    *,
    cut: int = 0,
    weather: list[str] | None = None,
    newest: bool = False,
) -> tuple[list[Member], list[int]]:
    """room: replicas that fit beside each other at most. cut: of the old ones, how many cannot be reached. weather: what happens to ready
    ones turn by turn, while turns are below 60. newest: the old ones are of the newest revision already. Gives the members at the end, and
    how many served after each step."""
    members = [Member(f"old{n}", 2 if newest else 1, ready=True, age=100 - n, unreachable=n < cut) for n in range(old)]
    made, served, fits = 0, [], True
    for turn in range(300):
        plan = step(members, revision=2, wanted=wanted, strategy=strategy, surge=surge, unavailable=unavailable, room=fits)
        draining = {name for name, _ in plan.drain}
        assert draining <= {member.id for member in members} and 0 <= plan.beside <= plan.start
        serving = sum(member.serves for member in members)
        goes = [member for member in members if member.id in draining]
        members = [member for member in members if member.id not in draining]
        left = sum(member.serves for member in members)
        extra = 0 if strategy == "in_place" or (strategy == "auto" and not fits) else surge
        slack = unavailable if extra else max(1, unavailable)
        assert left >= min(serving, wanted - slack)  # nothing that serves goes below the floor
        kept = sum(member.cut and member.revision == 2 for member in members)
        if any(member.cut and member.revision == 2 for member in goes):
            assert left + kept >= wanted - slack  # nothing that may be back goes before others serve
        assert len(members) + plan.start - plan.beside <= max(wanted + extra, len(members))
        assert len(members) + plan.start <= max(wanted + surge, len(members))
        assert plan.beside <= kept  # a substitute is for somebody
        well = sum(not member.cut and member.revision == 2 for member in members)
        assert well + plan.start <= max(wanted, well)  # nothing is started that is one too many at once
        placed = min(plan.start, max(0, room - len(members)))
        if plan.start > plan.beside:
            fits = placed == plan.start or placed > 0
        for _ in range(placed):
            made += 1
            members.append(Member(f"new{made}", 2, age=-turn))
        served.append(sum(member.serves for member in members))
        if (
            not plan.drain
            and not placed
            and plan.start == plan.beside
            and (turn >= 60 or not weather)
            and all(member.ready for member in members)
        ):
            break
        lucky = luck[turn % len(luck)] if turn < 60 else True
        members = [replace(m, ready=True) if not m.ready and lucky and m.revision == 2 else m for m in members]
        now = weather[turn % len(weather)] if weather and turn < 60 else ""
        standing = [member for member in members if member.ready and member.unreachable == (now == "mend")]
        if now and standing:
            hit = standing[turn % len(standing)]
            members = [replace(m, unreachable=now == "cut") if m is hit else m for m in members]
    else:
        raise AssertionError(f"it never ends: {members}")
    return members, served


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 6),
    st.integers(0, 6),
    STRATEGIES,
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 3),
    LUCK,
)
def test_every_rollout_ends_with_what_is_wanted(
    old: int, wanted: int, strategy: Strategy, surge: int, unavailable: int, spare: int, luck: list[bool]
) -> None:
    room = max(old, wanted) + (spare if strategy != "surge" else max(1, spare))
    members, _ = _play(old, wanted, strategy, surge, unavailable, room, luck)
    assert sorted((m.revision, m.ready) for m in members) == [(2, True)] * wanted


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(0, 6),
    st.booleans(),
    STRATEGIES,
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(1, 3),
    LUCK,
    WEATHER,
)
def test_whoever_is_cut_off_is_replaced_in_the_end(
    old: int,
    wanted: int,
    cut: int,
    newest: bool,
    strategy: Strategy,
    surge: int,
    unavailable: int,
    spare: int,
    luck: list[bool],
    weather: list[str],
) -> None:
    """Also those that are never mended, and substitutes that are cut off in their turn."""
    room = max(old, wanted) + spare
    members, _ = _play(old, wanted, strategy, surge, unavailable, room, luck, cut=min(cut, old), weather=weather, newest=newest)
    assert [(m.revision, m.serves) for m in members] == [(2, True)] * wanted


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(0, 6), STRATEGIES, st.integers(1, 3))
def test_without_room_for_a_substitute_nothing_happens(wanted: int, cut: int, strategy: Strategy, surge: int) -> None:
    members, _ = _play(wanted, wanted, strategy, surge, 0, wanted, [True], cut=min(cut, wanted), newest=True)
    assert {member.id for member in members} == {f"old{n}" for n in range(wanted)}


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), STRATEGIES, st.integers(1, 3), LUCK)
def test_those_that_serve_never_become_fewer_by_replacing(wanted: int, cut: int, strategy: Strategy, surge: int, luck: list[bool]) -> None:
    cut = min(cut, wanted)
    _, served = _play(wanted, wanted, strategy, surge, 0, wanted + surge, luck, cut=cut, newest=True)
    assert served[0] == wanted - cut and served == sorted(served) and served[-1] == wanted


def test_a_substitute_comes_beside_and_the_other_goes_once_it_serves() -> None:
    cut, well = Member("a", 1, ready=True, age=9, unreachable=True), Member("b", 1, ready=True, age=8)
    first = step([cut, well], revision=1, wanted=2)
    assert (first.start, first.beside, first.drain) == (1, 1, ()) and first.text == "1 of 2 ready, 1 cannot be reached"
    assert step([cut, well, Member("c", 1)], revision=1, wanted=2).done, "one at a time, and nothing goes before it serves"
    assert step([cut, well, Member("c", 1, ready=True)], revision=1, wanted=2).drain == (("a", UNREACHED),)
    back = step([replace(cut, unreachable=False), well, Member("c", 1)], revision=1, wanted=2)
    assert back.drain == (("c", "one more than wanted"),), "it is reached again: what does not serve yet is not needed"
    assert step([cut, well], revision=1, wanted=1).drain == (("a", UNREACHED),), "fewer are wanted: it is the first to go"
    assert step([cut], revision=1, wanted=0).drain == (("a", UNREACHED),)


def test_all_that_are_cut_off_stay_until_somebody_serves() -> None:
    members = [Member(name, 1, ready=True, unreachable=True) for name in "abc"]
    assert step(members, revision=1, wanted=3).drain == ()
    assert step(members, revision=1, wanted=3).start == step(members, revision=1, wanted=3, strategy="in_place").start == 1
    assert len(step(members, revision=1, wanted=1).drain) == 2, "as many stay as are wanted"
    assert step(members, revision=1, wanted=3, surge=0).done


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
