"""The rail and the palette's actions: only pages that exist, only what a person may see, one key each."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from django.http import HttpRequest
from django.test.utils import override_script_prefix

from apps.accounts.rules import PERMISSIONS
from apps.ui import navigation
from apps.ui.frame import overlays_drawn, rail_drawn
from apps.ui.icons import ICONS
from apps.ui.navigation import ACTIONS, RAIL, Action, Job, Place, actions_for, may_of, rail_for

PLACES = [place for job in RAIL for place in job.places]


def _everything(action: str, *, installation: bool = False) -> bool:
    return True


@pytest.mark.parametrize("entry", [*PLACES, *ACTIONS], ids=lambda entry: entry.label)
def test_every_entry_is_whole(entry: Place | Action) -> None:
    assert entry.icon in ICONS
    assert not entry.permission or entry.permission in PERMISSIONS
    if isinstance(entry, Place):
        assert entry.url, f"{entry.label}: no page is named {entry.url_name}"


def test_the_rail_shows_what_a_person_may_see() -> None:
    for_everyone = [place.label for place in PLACES if not place.permission]
    assert [place.label for job in rail_for(lambda action, installation=False: False) for place in job.places] == for_everyone
    seen = [place.label for job in rail_for(lambda action, installation=False: action == "request.view") for place in job.places]
    assert seen == ["Requests", *for_everyone]


def test_a_place_without_a_page_is_not_shown() -> None:
    jobs = [Job("Later", (Place("Later", "later:list", "flags"),)), Job("", (Place("Now", "dashboard:overview", "overview"),))]
    assert [place.label for job in rail_for(_everything, jobs) for place in job.places] == ["Now"]
    assert all(action.url for action in actions_for(_everything))


def test_a_place_of_the_installation_asks_for_the_installation() -> None:
    asked: list[tuple[str, bool]] = []

    def may(action: str, *, installation: bool = False) -> bool:
        asked.append((action, installation))
        return installation

    jobs = [
        Job("", (Place("a", "dashboard:overview", "keys", "user.change", installation=True), Place("b", "dashboard:spend", "keys", "x")))
    ]
    assert [place.label for job in rail_for(may, jobs) for place in job.places] == ["a"]
    assert asked == [("user.change", True), ("x", False)]


def test_a_place_holds_the_pages_that_lie_under_it() -> None:
    place = Place("Routes", "dashboard:routes", "routes", also=("routes:*", "dashboard:traffic"))
    assert all(place.holds(name) for name in ("dashboard:routes", "routes:detail", "routes:edit", "dashboard:traffic"))
    assert not place.holds("dashboard:overview") and not place.holds("routesx:list")


def test_no_two_places_share_a_key() -> None:
    keys = Counter(place.key for place in PLACES if place.key)
    assert keys and max(keys.values()) == 1 and all(len(key) == 1 for key in keys)


def test_nobody_asked_means_nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(navigation, "_asker", None)
    assert not may_of(HttpRequest())("overview.view")


def test_the_rail_is_drawn_anew_for_what_it_follows_from() -> None:
    everything = tuple(rail_for(_everything))
    drawn = rail_drawn(everything, "routes:detail")
    assert drawn == rail_drawn(tuple(rail_for(_everything)), "routes:detail")
    assert all(place.url in drawn for place in PLACES)
    assert [match[0] for match in re.findall(r'href="([^"]+)" (aria-current="page")', drawn)] == ["/routes/"]
    assert 'href="/routes/" aria' not in rail_drawn(everything, "dashboard:overview")
    few = tuple(rail_for(lambda action, installation=False: False))
    assert "/routes/" not in rail_drawn(few, "routes:detail") and "<kbd>t</kbd>" not in overlays_drawn(few)
    assert "<kbd>t</kbd>" in overlays_drawn(everything)
    with override_script_prefix("/under/"):
        assert 'href="/under/routes/"' in rail_drawn(everything, "routes:detail")
