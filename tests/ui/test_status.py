"""One vocabulary: every app's states are ``apps.ui.status.Status``, with a tone that exists and an icon that is drawn."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest
from django.apps import apps

from apps.ui.icons import ICONS
from apps.ui.status import ICON_OF_TONE, SEVERITY, UNKNOWN, Status, worst


def _states() -> Iterator[tuple[str, str, object]]:
    for config in apps.get_app_configs():
        if not config.name.startswith("apps.") or importlib.util.find_spec(f"{config.name}.choices") is None:
            continue
        module = importlib.import_module(f"{config.name}.choices")
        for name, value in vars(module).items():
            if name.endswith(("STATES", "OUTCOMES")) and isinstance(value, dict):
                yield from ((f"{config.name}.{name}", key, state) for key, state in value.items())


def test_every_state_of_every_app_speaks_the_vocabulary() -> None:
    found = list(_states())
    assert len(found) >= 20
    for where, key, state in found:
        assert isinstance(state, Status), where
        assert state.value == key, where
        assert state.tone in SEVERITY and state.icon_name in ICONS and state.label, (where, key)


def test_every_tone_has_an_icon_and_unknown_is_never_green() -> None:
    assert set(ICON_OF_TONE) == set(SEVERITY) and set(ICON_OF_TONE.values()) <= set(ICONS)
    assert UNKNOWN.tone == "unknown"


@pytest.mark.parametrize("tones", [("good", "unknown"), ("good", "bad", "warn"), ("neutral", "info")])
def test_a_rollup_shows_the_worst(tones: tuple[str, ...]) -> None:
    statuses = [Status(tone, tone, tone) for tone in tones]  # type: ignore[arg-type]
    assert worst(statuses).tone == max(tones, key=lambda tone: SEVERITY.index(tone))  # type: ignore[arg-type]
    assert worst([]) is UNKNOWN
