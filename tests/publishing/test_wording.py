"""What pages write for the integers and ids of a diff, and where they find the names."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.audit.models import AuditEvent
from apps.contracts.snapshot import DiscountFragment, LimitFragment, PriceFragment, PriceTier, PriceVersion, RouteFragment, Target
from apps.publishing.diff import state_diff
from apps.publishing.naming import names_of
from apps.publishing.preview import FieldChange, ObjectChange, changes_of
from apps.publishing.trail import trail
from apps.publishing.wording import NOTHING, fields_worded, path_text, text_of, worded
from apps.ui.format import THIN
from tests.publishing.installation import ACTOR, installation_make

ORGANISATION = "01890000-0000-7000-8000-000000000001"
PROVIDER = "01890000-0000-7000-8000-000000000002"
NAMES = {ORGANISATION: "Ω & Söhne", PROVIDER: "open<b>ai</b>"}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("limit_nano", 150_000_000, "$0.15"),
        ("limit_nano", 1_234_567_000_000_001, "$1,234,567.000000001"),
        ("limit_nano", 0, "$0"),
        ("input", 150_000_000, "$0.15 per million tokens"),
        ("cache_read", None, NOTHING),
        ("request", 1, "$0.000000001 per million requests"),
        ("per_hour", 2_490_000_000, "$2.49 per hour"),
        ("discount", 1_250, f"12.5{THIN}%"),
        ("batch_discount", 5_000, f"50{THIN}%"),
        ("discount", 5, f"0.05{THIN}%"),
        ("failure_percent", 50, f"50{THIN}%"),
        ("from_minute", 990, "16:30 UTC"),
        ("total_ms", 120_000, f"2{THIN}min"),
        ("first_byte_ms", 6_500, f"6.5{THIN}s"),
        ("first_byte_ms", 6_001, f"6{THIN}001{THIN}ms"),
        ("hedge_after_ms", 0, "0"),
        ("connect_ms", 250, f"250{THIN}ms"),
        ("valid_from_ms", 0, "always"),
        ("until_ms", 1_767_225_600_000, "2026-01-01 00:00:00 UTC"),
        ("until_ms", 2**62, "always"),
        ("max_output_tokens", 4_096, f"4{THIN}096"),
        ("valid_from", "2026-01-01T01:00:00+01:00", "2026-01-01 00:00:00 UTC"),
        ("valid_from", "9999-99-99T99:99:99Z", "9999-99-99T99:99:99Z"),
        ("organisation", ORGANISATION, "Ω & Söhne"),
        ("like", f"{PROVIDER}/gpt", "open<b>ai</b>/gpt"),
        ("scope_id", "01890000-0000-7000-8000-000000000003", "01890000-0000-7000-8000-000000000003"),
        ("enabled", False, "no"),
        ("routes", ["*"], "*"),
        ("tiers", [{"from_input_tokens": 200_000, "input": 1}], f"from input tokens: 200{THIN}000, input: $0.000000001 per million tokens"),
        ("endpoints", [], NOTHING),
    ],
)  # fmt: skip
def test_value(name: str, value: Any, text: str) -> None:
    assert text_of(name, value, NAMES) == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("limit_nano", "limit"),
        ("targets[0].first_byte_ms", "target 1 · first byte"),
        ("versions[1].tiers[0].cache_read", "version 2 · tier 1 · cache read"),
        ("breaker.failure_percent", "breaker · failure"),
        ("enabled", "enabled"),
        ("list-2026.v1 of_ms", "list-2026.v1 of_ms"),
    ],
)
def test_path(path: str, text: str) -> None:
    assert path_text(path) == text


def test_amount_beside_its_text_is_said_once() -> None:
    """Audited budgets carry both, for people and for programs."""
    fields = (FieldChange("limit", "$5", "$6"), FieldChange("limit_nano", 5 * 10**9, 6 * 10**9), FieldChange("spent_nano", None, 1))
    assert [(item.path, item.before, item.after) for item in fields_worded(fields, {})] == [
        ("limit", "$5", "$6"),
        ("spent", None, "$0.000000001"),
    ]


def test_whole_objects() -> None:
    """No integer of money, no id of what has a name, and no unit in a field's name is left on a page."""
    discount_id = "01890000-0000-7000-8000-000000000009"
    version = PriceVersion(version="list-1", input=150_000_000, output=600_000_000, tiers=[PriceTier(from_input_tokens=128_000, input=1)])
    new = {
        "prices": {"p/m": PriceFragment(id="p/m", provider="openai", model="m", versions=[version], like=f"{PROVIDER}/x")},
        "discounts": {discount_id: DiscountFragment(id=discount_id, organisation=ORGANISATION, provider=PROVIDER, discount=1_250)},
        "routes": {"r": RouteFragment(id="r", name="chat", organisation=ORGANISATION, targets=[Target(provider="openai", model="m")])},
        "limits": {
            "l": LimitFragment(
                id="l", name="all", organisation=ORGANISATION, scope="organisation", scope_id=ORGANISATION,
                kind="requests_per_minute", amount=60,
            )
        },
    }  # fmt: skip
    found = worded(changes_of(state_diff({}, new, {name: rows.keys() for name, rows in new.items()})), {**NAMES, discount_id: "spring"})
    text = repr([(item.name, item.fields) for item in found])
    assert "150000000" not in text and ORGANISATION not in text and PROVIDER not in text and "_ms" not in text and "_nano" not in text
    assert [item.name for item in found] == ["openai/m", "spring", "chat", "all"]
    assert "$0.15 per million tokens" in text and "Ω & Söhne" in text


def test_names_are_found(db: None) -> None:
    """What the config at hand, the person's organisations or the audit name; the audit also of what is gone."""
    main = installation_make()
    other = Organisation.objects.create(name="Other", slug="other")
    gone = AuditEvent.objects.filter(action="provider.create", subject_name="sim").latest("seq")
    fields = tuple(FieldChange(name, None, str(value)) for name, value in (("a", main.pk), ("b", other.pk), ("c", gone.subject_id)))
    change = ObjectChange("routes", "r", "chat", "added", fields)
    assert names_of([change], {str(main.pk): "Main"}) == {str(main.pk): "Main", str(other.pk): "Other", gone.subject_id: "sim"}
    with CaptureQueriesContext(connection) as asked:
        assert names_of([ObjectChange("routes", "r", "chat", "changed", fields[:1])], {str(main.pk): "Main"}) == {str(main.pk): "Main"}
    assert not asked.captured_queries
    assert names_of([ObjectChange("routes", "r", "chat", "changed", (FieldChange("x", "nobody", PROVIDER),))]) == {}


def test_trail_speaks_of_money_and_time() -> None:
    """The timeline of one object."""
    event = AuditEvent(
        action="route.update", actor_name=ACTOR.name, reason="",
        before={"first_byte_ms": 6_000, "per_hour": None}, after={"first_byte_ms": 500, "per_hour": 1},
    )  # fmt: skip
    [entry] = trail([event])
    assert entry.text == f"first byte: 6{THIN}s → 500{THIN}ms; per hour: – → $0.000000001 per hour"
