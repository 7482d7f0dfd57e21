"""Creating, replacing, disabling and revoking a key: a secret is shown once, and is nowhere afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.snapshot import KeyFragment
from apps.keys import services, snapshot
from apps.keys.models import KeyDigest, VirtualKey


def fields(**changes: Any) -> dict[str, Any]:
    return {"name": "checkout", "environment": "staging", "service": "", "all_routes": "on", "feature": "", "tags": "a, b", **changes}


def controls(response: Any) -> dict[str, str]:
    return {name: response.context[name] for name in ("revision", "submission", "reviewed")}


def publishing(client: Client, url: str, data: dict[str, Any]) -> dict[str, Any]:
    """What the browser sends when *Publish* is pressed after a review."""
    review = client.post(url, {**data, **controls(client.get(url))})
    assert review.status_code == 200 and review.context["review"] is not None, review.context["form"].errors
    return {**data, **controls(review), "publish": "1", "reason": "for the checkout"}


def fragment(key: VirtualKey) -> KeyFragment:
    found = snapshot.keys.build({str(key.pk)})[str(key.pk)]
    assert isinstance(found, KeyFragment)
    return found


def everything_stored() -> str:
    """Every row of every table, as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        found = []
        for table in tables:
            cursor.execute(f"SELECT string_agg(x::text, ' ') FROM {table} AS x")
            found.append(cursor.fetchone()[0] or "")
    return " ".join(found)


def test_the_secret_is_shown_once_and_is_nowhere_afterwards(
    signed_in: Callable[..., Client], demo: Organisation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = signed_in()
    sent = publishing(client, "/keys/new/", fields())
    assert not VirtualKey.objects.exists()
    answer = client.post("/keys/new/", sent)
    key = VirtualKey.objects.get()
    token = answer.context["token"]
    assert answer.status_code == 200 and token.startswith(f"bk-{key.public_id}-")
    assert services.key_digest(token) == KeyDigest.objects.get().digest
    assert "no-store" in answer["Cache-Control"] and answer["Referrer-Policy"] == "no-referrer"
    text = answer.content.decode()
    assert token in text and "Waiting for the first request" in text and "demo-chat" in text and "Key checkout created." in text
    again = client.post("/keys/new/", sent)
    assert again.status_code == 302 and again["Location"] == f"/keys/{key.pk}/" and VirtualKey.objects.count() == 1
    secret = token.rsplit("-", 1)[-1] if token.count("-") == 2 else token.split("-", 2)[2]
    later = client.get(f"/keys/{key.pk}/").content.decode() + client.get(f"/keys/{key.pk}/?tab=history").content.decode()
    for kept in (later, everything_stored(), caplog.text, repr(dict(client.session)), repr(client.cookies)):
        assert token not in kept and secret not in kept
    assert (key.environment, key.tags, key.routes) == ("staging", ["a", "b"], ["*"])


def test_wrong_input_is_named_beside_its_field(signed_in: Callable[..., Client], key: VirtualKey) -> None:
    client = signed_in()
    for changes, field, words in (
        ({"name": "Has Blank"}, "name", "is not a name"),
        ({"name": "x" * 300}, "name", "80"),
        ({"name": "app"}, "name", "exists"),
        ({"environment": "moon"}, "environment", "valid choice"),
        ({"all_routes": ""}, "routes", "opens nothing"),
        ({"all_routes": "", "routes": ["nowhere"]}, "routes", "valid choice"),
        ({"tags": "a, a"}, "tags", "twice"),
        ({"feature": "a,b"}, "feature", "commas"),
        ({"expires_at": "2020-01-01T00:00"}, "expires_at", "passed"),
        ({"expires_at": "soon"}, "expires_at", "valid date"),
        ({"service": "team:00000000-0000-0000-0000-000000000000"}, "service", "valid choice"),
    ):
        answer = client.post("/keys/new/", {**fields(), **changes, **controls(client.get("/keys/new/"))})
        errors = answer.context["form"].errors
        assert answer.status_code == 400 and words in " ".join(errors.get(field, [])), (changes, errors)
    assert VirtualKey.objects.count() == 1


def test_edit_keeps_what_was_not_touched(signed_in: Callable[..., Client], key: VirtualKey) -> None:
    client, url = signed_in(), f"/keys/{key.pk}/edit/"
    VirtualKey.objects.filter(pk=key.pk).update(routes=["demo-chat", "later"])
    sent = publishing(client, url, fields(all_routes="", routes=["demo-chat", "later"], feature="search", tags="beta"))
    assert client.post(url, sent)["Location"] == f"/keys/{key.pk}/"
    changed = VirtualKey.objects.get()
    assert (changed.name, changed.routes, changed.environment, changed.feature) == ("app", ["demo-chat", "later"], "staging", "search")


def test_a_replaced_secret_lives_on_until_the_chosen_time(signed_in: Callable[..., Client], key: VirtualKey) -> None:
    client, url = signed_in(), f"/keys/{key.pk}/rotate/"
    [old] = fragment(key).digests
    answer = client.post(url, publishing(client, url, {"grace": "24", "old_until": ""}))
    token = answer.context["token"]
    assert answer.status_code == 200 and token.startswith(f"bk-{key.public_id}-") and "no-store" in answer["Cache-Control"]
    shown = fragment(key)
    assert set(shown.digests) == {old, services.key_digest(token)} and set(shown.digests_until_ms) == {old}
    until = shown.digests_until_ms[old] / 1000
    assert abs(until - (timezone.now() + timedelta(hours=24)).timestamp()) < 120
    assert "Two secrets open this key" in client.get(f"/keys/{key.pk}/").content.decode()
    at_once = client.post(url, publishing(client, url, {"grace": "0", "old_until": ""}))
    assert fragment(key).digests == [services.key_digest(at_once.context["token"])]
    missing = client.post(url, {"grace": "at", "old_until": "", **controls(client.get(url))})
    assert missing.status_code == 400 and "old_until" in missing.context["form"].errors
    assert AuditEvent.objects.filter(action="key.rotate").count() == 2


def test_rotation_is_bounded(key: VirtualKey, actor: Actor) -> None:
    now = timezone.now()
    for old_until in (now - timedelta(seconds=1), now + timedelta(days=91)):
        with pytest.raises(ServiceError) as caught:
            services.key_rotate(actor=actor, key=key, old_until=old_until)
        assert caught.value.field == "old_until"
    for _ in range(7):
        services.key_rotate(actor=actor, key=key, old_until=now + timedelta(hours=1))
    with pytest.raises(ServiceError, match="too many"):
        services.key_rotate(actor=actor, key=key, old_until=now + timedelta(hours=1))
    services.key_update(actor=actor, key=key, source="file:app.key")
    with pytest.raises(ServiceError, match="read from"):
        services.key_rotate(actor=actor, key=key)


def test_disable_and_enable(signed_in: Callable[..., Client], key: VirtualKey) -> None:
    client, url = signed_in(), f"/keys/{key.pk}"
    assert client.get(f"{url}/disable/").status_code == 405
    client.post(f"{url}/disable/", {"reason": ""})
    assert fragment(key).enabled
    for _ in range(2):
        client.post(f"{url}/disable/", {"reason": "leaking"})
        assert not fragment(key).enabled
    assert AuditEvent.objects.filter(action="key.update", reason="leaking").count() == 1
    client.post(f"{url}/enable/")
    assert fragment(key).enabled


def test_revoking_takes_the_typed_name_and_is_for_good(signed_in: Callable[..., Client], key: VirtualKey) -> None:
    client, url = signed_in(), f"/keys/{key.pk}"
    client.post(f"{url}/revoke/", {"reason": "lost", "confirmation": "ap"})
    assert VirtualKey.objects.get().state == "active"
    client.post(f"{url}/revoke/", {"reason": "lost", "confirmation": "app"})
    assert VirtualKey.objects.get().state == "revoked"
    assert client.post(f"{url}/revoke/", {"reason": "lost", "confirmation": "app"}).status_code == 404
    for path in ("edit/", "rotate/"):
        assert client.get(f"{url}/{path}").status_code == 404
    text = client.get(f"{url}/").content.decode()
    assert "Revoked" in text and 'data-opens="disable"' not in text
    assert client.post(f"{url}/enable/").status_code == 404


def test_wrong_person(signed_in: Callable[..., Client], key: VirtualKey) -> None:
    viewer = signed_in("viewer")
    for path in ("edit/", "rotate/"):
        assert viewer.get(f"/keys/{key.pk}/{path}").status_code == 403
    assert viewer.get("/keys/new/").status_code == 403 == viewer.post("/keys/new/", fields()).status_code
    for path in ("disable", "enable", "revoke"):
        assert viewer.post(f"/keys/{key.pk}/{path}/", {"reason": "r", "confirmation": "app"}).status_code == 403
    assert VirtualKey.objects.get().state == "active"
