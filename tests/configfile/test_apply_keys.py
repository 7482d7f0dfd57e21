"""Addresses of keys and teams' templates in the document: applied, exported, applied again, removed."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Organisation
from apps.keys.models import KeyTemplate, VirtualKey

DOCUMENT = """
teams:
  - name: search
keys:
  - name: app
    addresses: [192.0.2.7, "2001:db8::/32"]
key_templates:
  - name: search
    environments: [staging]
    routes: [chat]
    longest_days: 30
    requests_per_minute: 60
    budget: "12.50"
    budget_window: week
"""


def apply(path: Path, text: str) -> str:
    path.write_text(text)
    out = StringIO()
    call_command("apply", file=str(path), no_wait=True, stdout=out)
    return out.getvalue()


def test_addresses_and_templates_are_applied_exported_and_removed(organisation: Organisation, tmp_path: Path) -> None:
    path = tmp_path / "bulkhead.yaml"
    assert "+ key template search" in apply(path, DOCUMENT)
    row = KeyTemplate.objects.get()
    assert (row.routes, row.environments, row.most_keys, row.longest_days) == (["chat"], ["staging"], 10, 30)
    assert (row.limits, row.budget_nano, row.budget_window) == ({"requests_per_minute": 60}, 12_500_000_000, "week")
    assert VirtualKey.objects.get().addresses == ["192.0.2.7/32", "2001:db8::/32"]
    out = StringIO()
    call_command("export", stdout=out)
    assert "192.0.2.7/32" in out.getvalue() and "key_templates:" in out.getvalue()
    assert apply(path, out.getvalue()) == "nothing changes\n"
    assert "- key template search" in apply(path, "key_templates:\n  - name: search\n    absent: true\n")
    assert not KeyTemplate.objects.exists()


def test_wrong_entries_are_named_with_their_field(organisation: Organisation, tmp_path: Path) -> None:
    wrong = DOCUMENT.replace("192.0.2.7", "192.0.2.7/8").replace("name: search\n    environments", "name: nobody\n    environments")
    with pytest.raises(CommandError) as caught:
        apply(tmp_path / "bulkhead.yaml", wrong)
    assert "keys[0].addresses" in str(caught.value) and "key_templates[0].name: there is no team 'nobody'" in str(caught.value)
