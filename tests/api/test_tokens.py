"""Personal tokens: made once, shown once, narrowed, ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.accounts.api import throttling
from apps.accounts.models import Organisation, User
from apps.accounts.people import user_disable
from apps.accounts.rules import PERMISSIONS
from apps.accounts.scopes import GRANTS, grant_for, granted, grants_checked
from apps.accounts.token_models import PersonalToken
from apps.accounts.tokens import MOST_PER_PERSON, secret_hash, token_create, token_revoke
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from tests.api.conftest import AGENT, Caller, caller, failure
from tests.people import member

LATER = timedelta(days=30)


def made(user: User, name: str = "ci", scopes: tuple[str, ...] = ("keys:write",), days: int = 30) -> tuple[PersonalToken, str]:
    return token_create(actor=Actor.of_user(user), user=user, name=name, scopes=scopes, expires_at=timezone.now() + timedelta(days=days))


def test_of_a_secret_only_its_hash_is_kept(ada: User) -> None:
    token, secret = made(ada)
    assert secret.startswith("bkp_") and len(secret) > 40
    kept = PersonalToken.objects.filter(pk=token.pk).values().get()
    assert secret not in str(kept) and kept["secret_hash"] == secret_hash(secret) and kept["hint"] == secret[-4:]
    event = AuditEvent.objects.get(action="token.create", subject_id=str(token.pk))
    assert event.after["scopes"] == ["keys:write"] and secret not in str(event.content())


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"name": " "}, "name"), ({"name": "x" * 81}, "name"), ({"scopes": ()}, "scopes"), ({"scopes": ("keys:eat",)}, "scopes"),
     ({"days": -1}, "expires_at"), ({"days": 400}, "expires_at")],
)  # fmt: skip
def test_what_is_no_token_is_refused_by_field(ada: User, wrong: dict[str, object], field: str) -> None:
    with pytest.raises(ServiceError) as refused:
        made(ada, **wrong)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_a_name_is_free_again_once_revoked_and_nobody_hoards(ada: User) -> None:
    token, _ = made(ada)
    with pytest.raises(ServiceError, match="already"):
        made(ada)
    token_revoke(actor=Actor.of_user(ada), token=token)
    token_revoke(actor=Actor.of_user(ada), token=token)
    assert AuditEvent.objects.filter(action="token.revoke", subject_id=str(token.pk)).count() == 1
    made(ada)
    PersonalToken.objects.bulk_create(
        PersonalToken(user=ada, name=f"t{n}", secret_hash=f"{n}", hint="x", scopes=[], expires_at=timezone.now())
        for n in range(MOST_PER_PERSON)
    )
    with pytest.raises(ServiceError, match="revoke one"):
        made(ada, "one more")


def test_only_its_person_makes_it_and_no_token_makes_another(ada: User, organisation: Organisation) -> None:
    vic = member(organisation, "viewer")
    with pytest.raises(ServiceError, match="the person it belongs to"):
        token_create(actor=Actor.of_user(ada), user=vic, name="x", scopes=("keys:read",), expires_at=timezone.now() + LATER)
    through = Actor(kind="user", id=str(ada.pk), name=ada.email, via="token ci (…abcd)")
    with pytest.raises(ServiceError, match="cannot make another"):
        token_create(actor=through, user=ada, name="x", scopes=("keys:read",), expires_at=timezone.now() + LATER)


def test_anothers_token_is_revoked_by_an_admin_only(ada: User, organisation: Organisation) -> None:
    vic = member(organisation, "viewer")
    token, _ = made(ada)
    with pytest.raises(ServiceError, match=r"user\.change"):
        token_revoke(actor=Actor.of_user(vic), token=token)
    mine, secret = made(vic)
    token_revoke(actor=Actor.of_user(ada), token=mine, reason="left on a bus")
    failure(Caller(secret).get("me/"), 401, "token_revoked")


def test_a_token_that_is_over_opens_nothing_and_its_use_is_audited(ada: User, organisation: Organisation) -> None:
    token, secret = made(ada)
    assert Caller(secret).get("me/").json()["token"]["name"] == "ci"
    token.refresh_from_db()
    assert token.used_at is not None and token.used_from == "127.0.0.1"
    PersonalToken.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    failure(Caller(secret).get("me/"), 401, "token_expired")
    refused = AuditEvent.objects.get(action="token.refuse", subject_id=str(token.pk))
    assert (refused.actor_name, refused.actor_agent, refused.actor_address) == (ada.email, AGENT, "127.0.0.1")
    vic = member(organisation, "viewer")
    _, other = made(vic)
    user_disable(actor=Actor.command("test"), user=vic, reason="left")
    failure(Caller(other).get("me/"), 401, "token_invalid")


def test_whoever_guesses_is_slowed_down(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling.REFUSALS, "clock", lambda: 1000.0)
    statuses = [Caller(f"bkp_{n}").get("me/").status_code for n in range(40)]
    assert statuses[:30] == [401] * 30 and statuses[-1] == 429
    failure(caller(ada).get("me/"), 429, "too_many_requests")  # from the same address, for a while, a right one too


def test_every_action_takes_a_grant_and_reading_is_in_writing() -> None:
    assert {grant_for(action) for action in PERMISSIONS} <= GRANTS
    assert grant_for("key.view") == "keys:read" and grant_for("key.reveal") == "keys:write" and grant_for("audit.export") == "audit:read"
    assert granted("key.view", {"keys:write"}) and not granted("key.create", {"keys:read"}) and granted("key.create", None)
    assert grant_for("whatever.comes") == "administration:write"
    assert grants_checked(["keys:read", "keys:write", "usage:read"]) == ["usage:read", "keys:write"]


def test_a_token_narrows_its_person_and_never_widens(ada: User, organisation: Organisation) -> None:
    reader = caller(ada, ["keys:read"], name="reader")
    assert reader.get("organisations/main/keys/").status_code == 200
    error = failure(reader.post("organisations/main/keys/", {"name": "new"}), 403, "scope_missing")
    assert error["details"]["scope"] == "keys:write"
    failure(reader.get("organisations/main/routes/"), 403, "scope_missing")
    failure(reader.get("audit/"), 403, "scope_missing")
    wide = caller(member(organisation, "viewer"))
    error = failure(wide.post("organisations/main/keys/", {"name": "new"}), 403, "permission_denied")
    assert "admin" in error["details"]["roles"]


def test_ones_own_tokens_are_listed_and_revoked(ada: User, organisation: Organisation) -> None:
    call = caller(ada, ["usage:read"])
    [mine] = call.get("me/tokens/").json()["items"]
    assert "secret" not in mine and mine["scopes"] == ["usage:read"]
    theirs, _ = made(member(organisation, "viewer"))
    failure(call("delete", f"me/tokens/{theirs.pk}/"), 404, "not_found")
    assert call("delete", f"me/tokens/{mine['id']}/").status_code == 204
    failure(call.get("me/"), 401, "token_revoked")
