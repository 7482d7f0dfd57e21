"""After publishing: what proxies have the version; and that a rollback brings a document's config back whole."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.publishing.models import ProxyProcess, Version
from apps.publishing.rollback import rollback
from controlplane.configfile.plain import yaml_text
from controlplane.configfile.writing import document_of
from controlplane.management.commands import apply as command

FIRST = """
credentials: [{name: openai, secret: 'env:TEST_OPENAI_API_KEY'}]
providers:
  - {name: openai, endpoints: [{base_url: https://api.openai.com/v1, credential: openai}]}
  - name: local
    allow_private_addresses: true
    endpoints: [{base_url: 'http://127.0.0.1:1/v1'}]
    prices: [{model: llama, input: 1, output: 2, valid_to: 2030-01-01T00:00:00Z}]
routes:
  - {name: chat, aliases: [nick], targets: [{provider: openai, model: gpt-5.6-luna}], fallback: [{provider: local, model: llama}]}
keys: [{name: app}]
budgets: [{name: wall, scope: organisation, window: day, limit: 5}]
flags: [{name: stop, kind: kill, route: chat}]
"""
SECOND = """
credentials: [{name: other, secret: 'env:TEST_OTHER_API_KEY'}]
providers:
  - {name: openai, enabled: false, endpoints: [{name: east, base_url: https://api.openai.com/v1, credential: openai}]}
  - {name: local, absent: true}
routes:
  - {name: chat, absent: true}
  - {name: nick, targets: [{provider: openai, model: gpt-4o-mini, endpoint: east}]}
keys: [{name: app, absent: true}]
budgets: [{name: wall, absent: true}]
flags: [{name: stop, absent: true}]
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_OPENAI_API_KEY", "sk-first-0123456789")
    monkeypatch.setenv("TEST_OTHER_API_KEY", "sk-other-0123456789")


def apply(folder: Path, text: str, *arguments: str) -> str:
    path = folder / "bulkhead.yaml"
    path.write_text(text)
    out = StringIO()
    call_command("apply", "-f", str(path), *arguments, stdout=out)
    return out.getvalue()


def proxy(version: int) -> ProxyProcess:
    now = timezone.now()
    return ProxyProcess.objects.create(
        boot_id=uuid4(),
        name="proxy-1",
        host="here",
        pid=1,
        public_url="http://127.0.0.1:1",
        admin_url="http://127.0.0.1:2",
        state="ready",
        version=version,
        registered_at=now,
        last_seen_at=now,
    )


def test_it_names_the_proxies_that_are_behind(organisation: Organisation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "WAIT_SECONDS", 0.1)
    proxy(version=0)
    out = apply(tmp_path, FIRST)
    assert "v1 · 0/1" in out and "not there yet: proxy-1 (v0, ready)" in out


def test_it_waits_until_they_have_it_or_not_at_all(organisation: Organisation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = proxy(version=0)
    polls: list[float] = []

    def acknowledge(seconds: float) -> None:
        polls.append(seconds)
        ProxyProcess.objects.filter(pk=row.pk).update(version=Version.objects.count())

    monkeypatch.setattr(command.time, "sleep", acknowledge)
    assert "v1 · 1/1" in apply(tmp_path, FIRST) and len(polls) == 1
    assert "·" not in apply(tmp_path, SECOND, "--no-wait") and len(polls) == 1


def test_a_rollback_brings_everything_back_but_keys_and_credentials(organisation: Organisation, actor: Actor, tmp_path: Path) -> None:
    apply(tmp_path, FIRST)
    first = yaml_text(document_of(organisation))
    apply(tmp_path, SECOND)
    version = rollback(actor=actor, to_version=1, reason="the second was wrong")
    assert version is not None and version.number == 3
    again = document_of(organisation)
    assert [key.name for key in again.keys] == []
    assert [credential.name for credential in again.credentials] == ["openai", "other"]
    again.credentials = again.credentials[:1]
    assert yaml_text(again) == first.replace("keys:\n- name: app\n", "")
