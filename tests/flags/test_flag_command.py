"""``manage.py flag``: flipped and published in one go, or refused with what to do."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.flags.models import Flag
from apps.flags.services import flag_set
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.publishing.selectors import head_number
from apps.publishing.services import publish


def flag(*words: str, **options: Any) -> str:
    said = StringIO()
    call_command("flag", *words, stdout=said, **options)
    return said.getvalue()


@pytest.fixture
def stop(organisation: Organisation, actor: Actor) -> Flag:
    """A kill switch for a provider, off, published as v1."""
    endpoint = EndpointSpec("a", "https://api.example.com/v1")
    provider = provider_ensure(actor=actor, organisation=organisation, name="east", kind="openai", endpoints=[endpoint])
    made = flag_set(
        actor=actor, organisation=organisation, name="stop-east", kind="kill", subject_kind="provider", subject_id=str(provider.pk)
    )
    publish(actor=actor, reason="first")
    return made


def test_on_and_off_are_published_at_once_and_the_second_time_changes_nothing(stop: Flag) -> None:
    assert flag("stop-east", "on", "--reason", "east burns", "--minutes", "30").endswith("UTC, from v2 on.\n")
    stop.refresh_from_db()
    assert stop.on and stop.reason == "east burns" and stop.until is not None
    assert flag("stop-east", "off", reason="east is back") == "The flag stop-east is off, from v3 on.\n"
    assert flag("stop-east", "off", reason="again") == "The flag stop-east is off; it was so already.\n"
    stop.refresh_from_db()
    assert not stop.on and stop.until is None and head_number() == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stop-west", "on", "--reason", "x"), "no flag 'stop-west'"),
        (("stop-east", "on", "--reason", " "), "say why"),
        (("stop-east", "on", "--reason", "x", "--organisation", "elsewhere"), "--organisation"),
        (("stop-east", "on", "--reason", "x", "--minutes", "0"), "--minutes"),
        (("stop-east", "off", "--reason", "x", "--minutes", "5"), "--minutes"),
        (("stop-east", "on"), "--reason"),
    ],
)
def test_a_refusal_says_what_to_do_and_changes_nothing(stop: Flag, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        flag(*words)
    stop.refresh_from_db()
    assert not stop.on and head_number() == 1
