"""A write that is sent again is done once; one that failed is not remembered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.answers import answers_prune
from apps.accounts.models import User
from apps.accounts.token_models import StoredAnswer
from apps.keys.models import VirtualKey
from apps.publishing import preview
from tests.api.conftest import Caller, caller, failure

KEYS = "organisations/main/keys/"
NEW = {"name": "once"}


def test_the_same_again_gives_the_same_answer_with_the_secret(admin: Caller) -> None:
    first = admin.post(KEYS, NEW, Idempotency_Key="a")
    again = admin.post(KEYS, NEW, Idempotency_Key="a")
    assert first.status_code == again.status_code == 201 and first.content == again.content
    for name in ("ETag", "Location", "Bulkhead-Config-Version"):
        assert first[name] == again[name]
    assert again["Idempotent-Replayed"] == "true" and "Idempotent-Replayed" not in first
    assert VirtualKey.objects.filter(name="once").count() == 1
    kept = StoredAnswer.objects.get(key="a")
    assert first.json()["secret"] not in kept.body and first.json()["secret"] not in str(kept.headers)


def test_another_body_under_the_same_key_is_a_mistake(admin: Caller) -> None:
    admin.post(KEYS, NEW, Idempotency_Key="a")
    failure(admin.post(KEYS, {"name": "twice"}, Idempotency_Key="a"), 409, "idempotency_mismatch")
    failure(admin("delete", f"{KEYS}once/", If_Match="*", Idempotency_Key="a"), 409, "idempotency_mismatch")
    assert admin.post(KEYS, {"name": "twice"}, Idempotency_Key="b").status_code == 201
    assert failure(admin.post(KEYS, {"name": "x"}, Idempotency_Key="k" * 201), 400, "invalid")["field"] == "Idempotency-Key"


def test_another_caller_has_keys_of_their_own(admin: Caller, ada: User) -> None:
    assert admin.post(KEYS, NEW, Idempotency_Key="a").status_code == 201
    assert failure(caller(ada, name="other").post(KEYS, NEW, Idempotency_Key="a"), 400, "invalid")["field"] == "name"


def test_what_was_refused_or_broke_is_done_when_it_is_sent_again(admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    failure(admin.post(KEYS, {"name": "once", "priority": "extreme"}, Idempotency_Key="a"), 400, "invalid")
    real = preview.publish

    def broken(**_: Any) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(preview, "publish", broken)
    failure(admin.post(KEYS, NEW, Idempotency_Key="a"), 500, "internal")
    assert not VirtualKey.objects.filter(name="once").exists() and not StoredAnswer.objects.exists()
    monkeypatch.setattr(preview, "publish", real)
    assert admin.post(KEYS, NEW, Idempotency_Key="a").status_code == 201


def test_answers_are_forgotten_after_a_day(admin: Caller) -> None:
    admin.post(KEYS, NEW, Idempotency_Key="a")
    StoredAnswer.objects.update(at=timezone.now() - timedelta(hours=25))
    assert failure(admin.post(KEYS, NEW, Idempotency_Key="a"), 400, "invalid")["field"] == "name"
    StoredAnswer.objects.update(at=timezone.now() - timedelta(hours=25))
    kept = StoredAnswer.objects.count()
    assert kept == answers_prune() and not StoredAnswer.objects.exists()
