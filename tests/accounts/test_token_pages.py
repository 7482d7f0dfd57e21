"""One's tokens in Settings: made, shown once, revoked."""

from __future__ import annotations

import re

from django.test import Client

from apps.accounts.models import User
from apps.accounts.token_models import PersonalToken

URL = "/settings/tokens/"
NEW = {"act": "create", "name": "deploy <b>", "days": "30", "scope-keys": "write", "scope-usage": "read"}


def test_a_token_is_shown_once_and_works(admin: Client, ada: User) -> None:
    page = admin.post(URL, NEW)
    [secret] = re.findall(r"bkp_[\w-]+", page.content.decode())
    assert page.status_code == 200 and "no-store" in page["Cache-Control"] and b"deploy <b>" not in page.content
    assert PersonalToken.objects.get().scopes == ["usage:read", "keys:write"]
    assert secret not in admin.get(URL).content.decode() and "deploy &lt;b&gt;" in admin.get(URL).content.decode()
    answer = Client().get("/api/v1/me/", headers={"Authorization": f"Bearer {secret}"})
    assert answer.json()["email"] == ada.email
    again = admin.post(URL, NEW)
    assert again.status_code == 400 and "already" in again.content.decode()


def test_what_is_missing_is_said(admin: Client) -> None:
    page = admin.post(URL, {"act": "create", "name": "x", "days": "30"})
    assert page.status_code == 400 and "at least one scope" in page.content.decode()
    assert admin.post(URL, {"act": "create", "name": "", "days": "9999"}).status_code == 400
    assert admin.post(URL, {"act": "nonsense"}).status_code == 400 and not PersonalToken.objects.exists()


def test_revoking_ones_own_and_nobody_elses(admin: Client, viewer: Client, ada: User) -> None:
    admin.post(URL, NEW)
    token = PersonalToken.objects.get()
    for _ in range(2):  # somebody else's is as good as none
        assert viewer.post(URL, {"act": "revoke", "token": str(token.pk)}).status_code == 302
    token.refresh_from_db()
    assert token.revoked_at is None and token.name not in viewer.get(URL).content.decode()
    for _ in range(2):
        assert admin.post(URL, {"act": "revoke", "token": str(token.pk)})["Location"] == URL
    token.refresh_from_db()
    assert token.revoked_at is not None
