"""Pages of budgets: list, one budget, form with its diff, override, deleting; who may, and with how many queries."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.budgets.alerting import alerts_raise
from apps.budgets.models import Budget, BudgetOverride
from apps.budgets.services import budget_set
from apps.keys.models import VirtualKey
from apps.keys.services import key_create
from apps.publishing.services import publish
from tests.budgets.test_grants import Proxy, settle
from tests.budgets.test_limit_pages import MOST_QUERIES, controls, published
from tests.people import client_of, member


@pytest.fixture
def demo(db: None) -> Organisation:
    return Organisation.objects.create(name="Demo", slug="demo-budgets", simulated=True)


@pytest.fixture
def key(demo: Organisation, actor: Actor) -> VirtualKey:
    found = key_create(actor=actor, organisation=demo, name="app")[0]
    publish(actor=actor, reason="a start")
    return found


@pytest.fixture
def admin(demo: Organisation) -> Client:
    return client_of(member(demo, "admin"))


DATA = {
    "name": "app month", "subject": "tag beta", "kind": "throttle", "limit_nano": "12.50", "window": "month",
    "timezone": "UTC", "actions": "80: cheaper", "open_when_away": "on", "owner_email": "owner@acme.test", "alert_shares": "50, 80, 100",
    "webhook": "https://hooks.acme.test/s3cret", "slack_webhook": "",
}  # fmt: skip


def test_a_budget_is_reviewed_published_changed_and_deleted(admin: Client, key: VirtualKey) -> None:
    form = admin.get(f"/budgets/new/?for=key:{key.pk}")
    assert 'value="key app"' in form.content.decode()
    review = admin.post("/budgets/new/", {**DATA, **controls(form)})
    assert not Budget.objects.exists() and "app month" in review.content.decode()
    assert published(admin, "/budgets/new/", DATA).status_code == 302
    budget = Budget.objects.get()
    assert (budget.scope, budget.scope_ref, budget.limit_nano, budget.actions) == ("tag", "beta", 12_500_000_000, "80: cheaper")
    edit = f"/budgets/{budget.pk}/edit/"
    assert "s3cret" not in admin.get(edit).content.decode()
    changed = {**DATA, "limit_nano": "20", "kind": "hard", "actions": "", "webhook": ""}
    assert published(admin, edit, changed).status_code == 302
    budget.refresh_from_db()
    assert (budget.limit_nano, budget.kind, bool(budget.webhook), Budget.objects.count()) == (20_000_000_000, "hard", True, 1)
    assert published(admin, edit, {**changed, "webhook": "none"}).status_code == 302
    shown = admin.get(f"/budgets/{budget.pk}/").content.decode()
    assert "tag beta" in shown and "owner@acme.test" in shown and "s3cret" not in shown
    admin.post(f"/budgets/{budget.pk}/delete/", {"reason": "not needed"})
    assert admin.get(edit).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"limit_nano": "0"}, "a limit must be above zero"),
        ({"limit_nano": "-3"}, "write dollars in plain digits"),
        ({"limit_nano": "nan"}, "write dollars in plain digits"),
        ({"limit_nano": "1e9"}, "write dollars in plain digits"),
        ({"limit_nano": "5 EUR"}, "amounts are in US dollars"),
        ({"limit_nano": "2000000000"}, "beyond the largest limit"),
        ({"timezone": "Mars/Base"}, "is not a time zone"),
        ({"subject": "tag"}, "name the tag as requests name it"),
        ({"subject": "key nobody"}, "there is no key"),
        ({"actions": "80: sing"}, "is no threshold"),
        ({"actions": ""}, "a throttle needs a threshold"),
        ({"alert_shares": "NaN"}, "is no share of a limit"),
        ({"owner_email": "nobody"}, "is not an e-mail address"),
        ({"webhook": "ftp://x"}, "a webhook is an address such as"),
        ({"name": ""}, "This field is required"),
    ],
)
def test_bad_input_stays_in_the_form(admin: Client, key: VirtualKey, wrong: dict[str, str], says: str) -> None:
    data = {**DATA, **wrong}
    answer = admin.post("/budgets/new/", {**data, **controls(admin.get("/budgets/new/"))})
    assert answer.status_code == 400 and says in answer.content.decode().replace("&#x27;", "'")
    assert not Budget.objects.exists()


def spent(demo: Organisation, actor: Actor, **changes: Any) -> Budget:
    facts: dict[str, Any] = {"name": "<b>all</b>", "scope": "organisation", "scope_id": demo.pk, "window": "quarter", "limit_nano": 10**9}
    budget = budget_set(actor=actor, organisation=demo, **{**facts, **changes})
    row = Proxy().grant(f"{budget.pk}/ann" if changes.get("scope_id") == "*" else budget, 9 * 10**8)
    settle({row["lease"]: 85 * 10**7})
    return budget


def test_an_override_is_given_and_ended_in_dialogs(admin: Client, demo: Organisation, key: VirtualKey, actor: Actor) -> None:
    budget = spent(demo, actor)
    url = f"/budgets/{budget.pk}/"
    approver = admin.get(url).context["approver"]
    asked = {"amount_nano": "0.50", "hours": "4", "approver": approver, "reason": "launch"}
    for wrong in (
        {"amount_nano": "-1"},
        {"hours": "0"},
        {"hours": "99999"},
        {"approver": "x@y.test"},
        {"reason": ""},
        {"amount_nano": "0"},
    ):
        assert admin.post(f"{url}override/", {**asked, **wrong}).status_code == 302
        assert not BudgetOverride.objects.exists(), wrong
    admin.post(f"{url}override/", asked)
    override = BudgetOverride.objects.get()
    assert (override.amount_nano, override.approver, override.reason) == (5 * 10**8, approver, "launch")
    shown = admin.get(url)
    assert shown.context["line"].limit == 15 * 10**8 and "launch" in shown.content.decode()
    admin.post(f"{url}override/end/", {"reason": "over"})
    assert admin.get(url).context["line"].limit == 10**9


def test_who_may_and_how(demo: Organisation, key: VirtualKey, admin: Client, actor: Actor) -> None:
    budget = spent(demo, actor)
    alerts_raise()
    viewer = client_of(member(demo, "viewer"))
    for url in ("/budgets/", f"/budgets/{budget.pk}/"):
        shown = viewer.get(url).content.decode()
        assert "&lt;b&gt;all&lt;/b&gt;" in shown and "<b>all</b>" not in shown
    assert "data-opens" not in shown.split("<main")[1].split("</main")[0]
    assert viewer.get("/budgets/new/").status_code == 403
    for act in ("delete", "override", "override/end"):
        assert viewer.post(f"/budgets/{budget.pk}/{act}/", {"reason": "x"}).status_code == 403
        assert admin.get(f"/budgets/{budget.pk}/{act}/").status_code == 405
    other = client_of(member(Organisation.objects.create(name="Other", slug="other"), "admin"))
    assert other.get(f"/budgets/{budget.pk}/").status_code == 404
    assert Client().get("/budgets/").status_code == 302
    csv = admin.get("/budgets/?format=csv").getvalue().decode("utf-8-sig").splitlines()  # type: ignore[attr-defined]
    assert csv[0].startswith("Budget,") and "85.0" in csv[1]


def test_no_more_queries_than_a_page_may_ask(demo: Organisation, key: VirtualKey, admin: Client, actor: Actor) -> None:
    budgets = [
        spent(demo, actor),
        spent(demo, actor, name="k", scope="key", scope_id=str(key.pk)),
        spent(demo, actor, name="u", scope="user", scope_id="*", kind="soft"),
        spent(demo, actor, name="m", scope="model", scope_id="gpt", kind="throttle", actions="50: limited"),
    ]
    alerts_raise()
    pages = ["/budgets/", "/budgets/?q=a&sort=-spent&scope=key", "/budgets/new/", *(f"/budgets/{budget.pk}/" for budget in budgets)]
    for url in (*pages, f"/budgets/{budgets[2].pk}/edit/"):
        with CaptureQueriesContext(connection) as queries:
            assert admin.get(url).status_code == 200
        assert len(queries) <= MOST_QUERIES, (url, len(queries))


def test_a_threshold_that_acts_is_named(demo: Organisation, key: VirtualKey, admin: Client, actor: Actor) -> None:
    """85 percent are spent: of what is reached the severest acts."""
    budget = spent(demo, actor, kind="throttle", actions="50: limited, 60: cheaper, 90: minimal")
    for url in ("/budgets/", f"/budgets/{budget.pk}/"):
        shown = admin.get(url).content.decode()
        assert "limit: cap output" in shown and "use the cheapest targets" not in shown.split("<main")[1]
    idle = spent(demo, actor, name="idle", scope="model", scope_id="m", kind="throttle", actions="90: minimal")
    assert "acts now" not in admin.get(f"/budgets/{idle.pk}/").content.decode()
