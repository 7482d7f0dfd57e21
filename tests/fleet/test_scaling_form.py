"""A scaling policy as fields of a form: every setting has one, what is read back is what was written, and what is wrong says what to do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Organisation
from apps.fleet.forms import DeploymentForm, initial_of
from apps.fleet.models import Deployment
from apps.fleet.scaling import Policy
from apps.fleet.scaling_document import DAYS, policy_read
from apps.fleet.scaling_form import OPTIONS, floors_read, floors_text, scaling_initial
from tests.fleet.test_pages import FORM

BOUNDS = {"minimum", "maximum", "dry_run", "floors", "zone"}


def test_every_setting_of_a_policy_has_a_field() -> None:
    assert {field.name for field in fields(Policy)} - BOUNDS == OPTIONS.keys()


def filled(organisation: Organisation, **changes: Any) -> DeploymentForm:
    return DeploymentForm({**FORM, "scaling_mode": "dry_run", **changes}, organisation=organisation)


def test_fields_make_the_document_and_the_document_the_fields(demo: Organisation) -> None:
    form = filled(
        demo, scaling_tokens_each="20000", scaling_kv_target="70 %", scaling_ttft_target="1,5", scaling_up_most="3",
        scaling_floors="2 mon-fri 08:00-18:00\n1 sat, sun\n3 22:00-06:00\n4 fri-mon", scaling_zone="Europe/Zurich", least="0", most="8",
    )  # fmt: skip
    assert form.is_valid(), form.errors
    document = form.facts()["scaling"]
    assert document == {
        "tokens_each": 20000.0, "kv_target": 0.7, "ttft_target": 1.5, "up_most": 3, "zone": "Europe/Zurich",
        "floors": [
            {"minimum": 2, "days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"},
            {"minimum": 1, "days": ["sat", "sun"]},
            {"minimum": 3, "from": "22:00", "to": "06:00"}, {"minimum": 4, "days": ["mon", "fri", "sat", "sun"]},
        ],
    }  # fmt: skip
    assert policy_read(document, least=0, most=8).kv_target == 0.7
    again = filled(demo, **scaling_initial(document), least="0", most="8")
    assert again.is_valid() and again.facts()["scaling"] == document


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("scaling_tokens_each", "many", "is not a number: write one such as"),
        ("scaling_kv_target", "140", "0 to 100"),
        ("scaling_up_most", "0", "whole number of 1 or more"),
        ("scaling_look_back", "0", "more than 0 seconds"),
        ("scaling_down_after", "-3", "0 or more"),
        ("scaling_floors", "two on weekdays", "write 2 mon-fri 08:00-18:00"),
        ("scaling_floors", "2 mon-someday", "is no day"),
        ("scaling_floors", "2 08:00-25:00", "00:00 to 24:00"),
        ("scaling_floors", "2 08:00-08:00", "leave the times out"),
        ("scaling_floors", "9", "raise “Replicas at most”"),
        ("scaling_zone", "Mars/Olympus", "Europe/Zurich"),
        ("most", "0", "raise this one"),
    ],
)
def test_what_cannot_be_meant_says_what_to_do(demo: Organisation, field: str, text: str, said: str) -> None:
    form = filled(demo, **{field: text})
    assert not form.is_valid() and said in str(form.errors[field]), form.errors


def test_with_every_signal_left_out_nothing_would_ask(demo: Organisation) -> None:
    form = filled(demo, scaling_waiting_each="0", scaling_kv_target="0")
    assert not form.is_valid() and "nothing would ever ask" in str(form.errors["scaling_waiting_each"])


def test_what_no_field_shows_stays(demo: Organisation, deploy: Any) -> None:
    row: Deployment = deploy(scaling={"tokens_each": 9.0}, scaling_mode="on", most=3)
    form = DeploymentForm({**FORM, **initial_of(row), "scaling_tokens_each": ""}, organisation=demo, scaling={"later": 1})
    form.is_valid()
    assert form.document_of(form.cleaned_data, {"later": 1}) == {"later": 1}
    assert initial_of(row)["scaling_tokens_each"] == "9"


days = st.lists(st.sampled_from(DAYS), min_size=1, max_size=6, unique=True).map(lambda found: sorted(found, key=DAYS.index))
floors = st.fixed_dictionaries({"minimum": st.integers(0, 999)}, optional={"days": days})


@given(st.lists(floors, max_size=20))
def test_lines_of_floors_read_back_as_they_were(found: list[dict[str, Any]]) -> None:
    assert floors_read(floors_text(found)) == found


@given(st.text(max_size=80))
def test_any_text_of_floors_is_read_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert all(floor["minimum"] >= 0 for floor in floors_read(text))
