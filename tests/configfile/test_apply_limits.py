"""Limits in a document: applied, published, exported, applied again, changed, removed; refused with the words that the form has."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Organisation
from apps.budgets.limit_models import Limit
from apps.contracts.snapshot import LimitFragment, decode_fragment
from apps.publishing.models import FragmentRow

DOCUMENT = """
organisation: main
teams:
  - {name: search}
providers:
  - name: near
    allow_private_addresses: true
    endpoints:
      - {base_url: "http://127.0.0.1:8000/v1"}
routes:
  - {name: chat, targets: [{provider: near, model: m}]}
keys:
  - {name: app}
limits:
  - {name: everything, kind: concurrent_requests, amount: 100}
  - {name: app-minute, key: app, kind: requests_per_minute, amount: 600}
  - {name: search-day, team: search, kind: tokens_per_day, amount: 5000000}
  - {name: chat-minute, route: chat, kind: tokens_per_minute, amount: 90000}
  - {name: m-at-once, model: m, kind: concurrent_requests, amount: 8}
"""


def apply(folder: Path, text: str) -> str:
    path, out = folder / "bulkhead.yaml", StringIO()
    path.write_text(text, encoding="utf-8")
    call_command("apply", "-f", str(path), stdout=out)
    return out.getvalue()


def export() -> str:
    out = StringIO()
    call_command("export", stdout=out)
    return out.getvalue()


def published() -> dict[str, LimitFragment]:
    rows = FragmentRow.objects.filter(section="limits").order_by("version")
    latest = {row.object_id: row.body for row in rows}
    found = [decode_fragment("limits", body) for body in latest.values() if body is not None]
    return {fragment.name: fragment for fragment in found if isinstance(fragment, LimitFragment)}


def test_applied_published_exported_and_applied_again(organisation: Organisation, tmp_path: Path) -> None:
    apply(tmp_path, DOCUMENT)
    found = published()
    assert {name: (one.scope, one.kind, one.amount) for name, one in found.items()} == {
        "everything": ("organisation", "concurrent_requests", 100),
        "app-minute": ("key", "requests_per_minute", 600),
        "search-day": ("team", "tokens_per_day", 5_000_000),
        "chat-minute": ("route", "tokens_per_minute", 90_000),
        "m-at-once": ("model", "concurrent_requests", 8),
    }
    assert found["search-day"].scope_id == "search" and found["m-at-once"].scope_id == "m"
    again = apply(tmp_path, export())
    assert published() == found and again == "nothing changes\n"


def test_a_changed_amount_keeps_the_limit_and_absent_removes_it(organisation: Organisation, tmp_path: Path) -> None:
    apply(tmp_path, DOCUMENT)
    before = published()
    text = DOCUMENT.replace("amount: 600", "amount: 900").replace("amount: 8}", "amount: 8, absent: true}")
    said = apply(tmp_path, text)
    assert "900" in said
    after = published()
    assert after["app-minute"].id == before["app-minute"].id and after["app-minute"].amount == 900
    assert "m-at-once" not in after and Limit.objects.get(name="m-at-once").deleted_at is not None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("amount: 600", "amount: 0", "an amount must be at least 1"),
        ("amount: 600", "amount: -5", "an amount must be at least 1"),
        ("amount: 600", "amount: 99999999999999", "beyond the largest amount"),
        ("amount: 600", "amount: .nan", "amount"),
        ("kind: requests_per_minute", "kind: requests_per_hour", "is not a kind of limit: choose one of requests_per_minute"),
        ("key: app,", "key: nobody,", "there is no active key 'nobody'"),
        ("team: search,", "team: nobody,", "there is no team 'nobody'"),
        ("route: chat,", "route: nowhere,", "there is no route 'nowhere'"),
        ("key: app,", "key: app, route: chat,", "name at most one of key, team, route and model"),
        ("name: m-at-once, model: m,", "name: m-at-once,", "of the same organisation already"),
        ("name: app-minute", "name: everything", "everything"),
    ],
)
def test_wrong_input(organisation: Organisation, tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in DOCUMENT
    with pytest.raises(CommandError) as refused:
        apply(tmp_path, DOCUMENT.replace(old, new, 1))
    assert says in str(refused.value)
    assert not Limit.objects.exists() and not published()
