from __future__ import annotations

import pytest

from apps.accounts.models import Organisation
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor


@pytest.fixture
def actor() -> Actor:
    return Actor.command("test")


@pytest.fixture
def organisation(db: None, actor: Actor) -> Organisation:
    return organisation_ensure(actor=actor, slug="main", name="Main")
