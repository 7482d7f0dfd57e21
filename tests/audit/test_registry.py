"""The event registry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apps.audit import registry
from apps.audit.selectors import events_about, events_between

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    registry.register_kind("test.flip", "Flag flipped", tone="warning")
    registry.register_kind("test.deploy", "Deployed")


def test_a_kind_is_registered_once() -> None:
    assert registry.register_kind("test.deploy", "Deployed").title == "Deployed"
    with pytest.raises(ValueError, match="already registered"):
        registry.register_kind("test.deploy", "Something else")
    assert registry.kinds()["test.flip"].tone == "warning"


@pytest.mark.django_db
def test_an_unregistered_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="register_kind"):
        registry.event_record(kind="test.unknown", subject_kind="flag", subject_id="1", subject_name="x", data={})


@pytest.mark.django_db
def test_events_are_found_by_time_kind_and_subject() -> None:
    for minutes, kind in ((0, "test.flip"), (5, "test.deploy"), (10, "test.flip")):
        at = NOON + timedelta(minutes=minutes)
        registry.event_record(
            kind=kind, subject_kind="flag", subject_id=minutes, subject_name="f", at=at, data={"token": "abc", "on": True}
        )
    found = list(events_between(NOON, NOON + timedelta(minutes=10)))
    assert [event.kind for event in found] == ["test.flip", "test.deploy"]
    assert found[0].data == {"token": "[redacted]", "on": True}
    assert events_between(NOON, NOON + timedelta(hours=1), kinds=["test.flip"]).count() == 2
    assert events_about(subject_kind="flag", subject_id=5).get().kind == "test.deploy"


@pytest.mark.django_db
def test_the_time_defaults_to_now() -> None:
    event = registry.event_record(kind="test.flip", subject_kind="flag", subject_id="1")
    assert abs(datetime.now(UTC) - event.at) < timedelta(minutes=1)
