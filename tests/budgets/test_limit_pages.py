"""Pages of limits: list, form with its diff, deleting; who may, with how many queries, and the same refusal as everywhere."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.budgets.limit_models import Limit
from apps.budgets.limit_services import limit_set
from apps.keys.models import VirtualKey
from apps.keys.services import key_create
from apps.publishing.services import publish
from tests.people import client_of, member

MOST_QUERIES = 12


@pytest.fixture
def demo(db: None) -> Organisation:
    return Organisation.objects.create(name="Demo", slug="demo-limits", simulated=True)


@pytest.fixture
def key(demo: Organisation, actor: Actor) -> VirtualKey:
    found = key_create(actor=actor, organisation=demo, name="app")[0]
    publish(actor=actor, reason="a start")
    return found


@pytest.fixture
def admin(demo: Organisation) -> Client:
    return client_of(member(demo, "admin"))


def controls(response: Any) -> dict[str, str]:
    return {name: response.context[name] for name in ("revision", "submission", "reviewed")}


def published(client: Client, url: str, data: dict[str, Any]) -> Any:
    """Open, review, publish; the answer to the last."""
    review = client.post(url, {**data, **controls(client.get(url))})
    assert review.status_code == 200 and review.context["review"] is not None, review.context["form"].errors
    return client.post(url, {**data, **controls(review), "publish": "1", "reason": "a reason"})


def test_a_limit_is_reviewed_published_changed_and_deleted(admin: Client, demo: Organisation, key: VirtualKey) -> None:
    form = admin.get(f"/limits/new/?for=key:{key.pk}")
    assert 'value="key app"' in form.content.decode()
    data = {"name": "app calls", "subject": "key app", "kind": "requests_per_minute", "amount": "600"}
    review = admin.post("/limits/new/", {**data, **controls(form)})
    assert not Limit.objects.exists() and "app calls" in review.content.decode()
    assert published(admin, "/limits/new/", data).status_code == 302
    limit = Limit.objects.get()
    assert (limit.scope, limit.scope_id, limit.amount) == ("key", str(key.pk), 600)
    edit = f"/limits/{limit.pk}/edit/"
    assert published(admin, edit, {"amount": "900"}).status_code == 302
    limit.refresh_from_db()
    assert limit.amount == 900 and Limit.objects.count() == 1
    shown = admin.get("/limits/").content.decode()
    assert "app calls" in shown and "900" in shown and f"/keys/{key.pk}/" in shown
    assert f"/limits/{limit.pk}/" in shown and "app calls" in admin.get(f"/limits/{limit.pk}/").content.decode()
    assert "app calls" in admin.get(f"/keys/{key.pk}/?tab=access").content.decode()
    admin.post(f"/limits/{limit.pk}/delete/", {"reason": "not needed"})
    limit.refresh_from_db()
    assert limit.deleted_at is not None and admin.get(edit).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"amount": "0"}, "an amount must be at least 1"),
        ({"amount": "-3"}, "an amount must be at least 1"),
        ({"amount": "1e9"}, "digits only"),
        ({"amount": "nan"}, "digits only"),
        ({"amount": "9999999999999999"}, "beyond the largest amount"),
        ({"name": ""}, "This field is required"),
        ({"subject": "key nobody"}, "there is no key"),
        ({"subject": "model"}, "name the model as its provider names it"),
        ({"subject": "nobody"}, "say what it is, and its name"),
        ({"kind": "requests_per_hour"}, "valid choice"),
    ],
)
def test_bad_input_stays_in_the_form(admin: Client, key: VirtualKey, wrong: dict[str, str], says: str) -> None:
    data = {"name": "calls", "subject": "key app", "kind": "requests_per_minute", "amount": "600", **wrong}
    answer = admin.post("/limits/new/", {**data, **controls(admin.get("/limits/new/"))})
    assert answer.status_code == 400 and says in answer.content.decode()
    assert not Limit.objects.exists()


def test_who_may_and_how(demo: Organisation, key: VirtualKey, admin: Client, actor: Actor) -> None:
    limit = limit_set(
        actor=actor, organisation=demo, name="<b>all</b>", scope="organisation", scope_id="", kind="concurrent_requests", amount=9
    )
    viewer = client_of(member(demo, "viewer"))
    assert "&lt;b&gt;all&lt;/b&gt;" in viewer.get("/limits/").content.decode()
    assert viewer.get("/limits/new/").status_code == 403
    assert viewer.post(f"/limits/{limit.pk}/delete/", {"reason": "x"}).status_code == 403
    assert admin.get(f"/limits/{limit.pk}/delete/").status_code == 405
    assert (
        client_of(member(Organisation.objects.create(name="Other", slug="other"), "admin")).get(f"/limits/{limit.pk}/edit/").status_code
        == 404
    )
    assert Client().get("/limits/").status_code == 302
    assert admin.get("/limits/?format=csv").getvalue().decode("utf-8-sig").splitlines()[0].startswith("Limit,")  # type: ignore[attr-defined]


def test_no_more_queries_than_a_page_may_ask(demo: Organisation, key: VirtualKey, admin: Client, actor: Actor) -> None:
    for number, scope in enumerate(("organisation", "key", "model")):
        scope_id = {"key": str(key.pk), "model": "gpt"}.get(scope, "")
        limit = limit_set(
            actor=actor, organisation=demo, name=f"l{number}", scope=scope, scope_id=scope_id, kind="tokens_per_day", amount=9
        )
    one = f"/limits/{limit.pk}/"
    for url in ("/limits/", "/limits/?q=l&sort=-for", "/limits/new/", one, f"{one}use/", f"{one}edit/", f"/keys/{key.pk}/?tab=access"):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert admin.get(url).status_code == 200
        assert len(queries) <= MOST_QUERIES, (url, len(queries))
