"""Secrets never reach the audit."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.audit.rules import REDACTED, redact, secret_field
from apps.audit.services import audit_record

SECRET_NAMES = [
    "password",
    "secret",
    "client_secret",
    "api_key",
    "OPENAI_API_KEY",
    "X-Api-Key",
    "access_token",
    "token",
    "sealed",
    "digests",
    "Authorization",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_values_under_secret_names_are_blanked(name: str) -> None:
    assert redact({name: "hunter2"}) == {name: REDACTED}
    assert redact({"outer": [{name: {"deep": "hunter2"}}]}) == {"outer": [{name: REDACTED}]}


@pytest.mark.parametrize("name", ["max_output_tokens", "from_input_tokens", "name", "limit_nano", "key", "public_id", "credential"])
def test_plain_names_stay(name: str) -> None:
    assert redact({name: 4096}) == {name: 4096}


def test_an_empty_secret_stays_visible_as_empty() -> None:
    assert redact({"password": "", "token": None}) == {"password": "", "token": None}


def test_structs_are_redacted_by_their_field_names() -> None:
    class Credential(msgspec.Struct):
        name: str
        sealed: str

    assert redact({"credential": Credential(name="openai", sealed="gAAAA")}) == {"credential": {"name": "openai", "sealed": REDACTED}}


@given(st.dictionaries(st.sampled_from([*SECRET_NAMES, "name", "inner"]), st.text(alphabet="§", min_size=3), max_size=6))
def test_no_secret_survives(fields: dict[str, str]) -> None:
    text = json.dumps(redact({"inner": fields, **fields}), ensure_ascii=False)
    if all(secret_field(name) for name in fields):
        assert "§" not in text


@pytest.mark.django_db
def test_the_stored_row_holds_no_secret() -> None:
    actor = Actor.command("test")
    event = audit_record(
        actor=actor,
        action="credential.change",
        subject_kind="credential",
        subject_id="1",
        before={"secret": "old-value"},
        after={"secret": "new-value"},
    )
    stored = AuditEvent.objects.get(id=event.id)
    assert "value" not in json.dumps([stored.before, stored.after])
    assert stored.after == {"secret": REDACTED}


@pytest.mark.django_db
def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError):
        audit_record(actor=Actor.command("test"), action="a.b", subject_kind="a", subject_id="1", after={"x": object()})
