"""System checks of telling: nobody reachable, and an address that is none."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.alerts.channel_models import Unreachable
from apps.alerts.checks import people_reachable, public_url
from apps.ownership.models import Rotation
from tests.alerts.telling import on_call


def test_a_rotation_on_which_nobody_can_be_reached(organisation: Organisation) -> None:
    on_call(organisation, name="weekly")
    assert list(people_reachable(None, databases=["default"])) == []
    Unreachable.objects.create(rotation=Rotation.objects.get(), organisation=organisation, why="Nobody is on.", since=timezone.now())
    (found,) = people_reachable(None, databases=["default"])
    assert (found.id, "weekly" in found.msg, "Nobody is on." in found.msg) == ("bulkhead.W015", True, True)
    assert list(people_reachable(None, databases=None)) == [], "without --database nothing is asked"


@pytest.mark.parametrize(("url", "ids"), [("https://bulkhead.example.com", []), ("", []), ("bulkhead.example.com", ["bulkhead.E016"])])
def test_the_public_address(monkeypatch: pytest.MonkeyPatch, url: str, ids: list[str]) -> None:
    monkeypatch.setattr("apps.alerts.checks.env.public_url", lambda: url)
    assert [found.id for found in public_url(None)] == ids
