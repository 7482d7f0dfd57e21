"""Pages of performance budgets: list, one with its verdicts and plot, form with its diff, JSON; who may, with how many queries."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.budgets.models import PerformanceBudget
from apps.budgets.performance_services import performance_budget_set, performance_evaluate
from apps.publishing.models import Version
from apps.routes.models import Route
from tests.budgets.performance_usage import many, settle
from tests.people import client_of, member

COUNTS = json.loads(Path(__file__).with_name("performance_query_counts.json").read_text())
HOSTILE = '"><script>alert(1)</script>{{7*7}}'


@pytest.fixture
def demo(db: None) -> Organisation:
    return Organisation.objects.create(name="Demo", slug="demo-performance", simulated=True)


@pytest.fixture
def route(demo: Organisation) -> Route:
    return Route.objects.create(organisation=demo, name="chat")


@pytest.fixture
def admin(demo: Organisation) -> Client:
    return client_of(member(demo, "admin"))


@pytest.fixture
def made(demo: Organisation, route: Route, actor: Actor) -> dict[str, PerformanceBudget]:
    """One in every verdict, looked at."""
    settle(many(demo, 150, datetime.now(UTC)))
    of_route = {"scope": "route", "scope_id": str(route.pk)}
    facts = {
        "ok": {**of_route, "metric": "ttft_p95", "bound": "5s"},
        "warning": {**of_route, "metric": "inter_token_p95", "bound": "21ms"},
        "breached": {"scope": "model", "scope_id": "m", "metric": "cost_per_request", "bound": "0.001"},
        HOSTILE: {"scope": "model", "scope_id": HOSTILE, "metric": "gpu_hours", "bound": "120"},
    }
    more = {"owner_email": "ada@example.test", "window": "week"}  # a week's verdict is believed longest, on a slow machine too
    rows = {name: performance_budget_set(actor=actor, organisation=demo, name=name, **more, **given) for name, given in facts.items()}
    performance_evaluate()
    return rows


def controls(response: Any) -> dict[str, str]:
    return {name: response.context[name] for name in ("revision", "submission", "reviewed")}


def published(client: Client, url: str, data: dict[str, Any]) -> Any:
    """Open, review, publish; the answer to the last."""
    review = client.post(url, {**data, **controls(client.get(url))})
    assert review.status_code == 200 and review.context["review"] is not None, review.context["form"].errors
    return client.post(url, {**data, **controls(review), "publish": "1", "reason": "a reason"})


def form(route: Route, **changes: str) -> dict[str, str]:
    return {
        "name": "chat answers fast", "subject": f"route {route.name}", "metric": "ttft_p95", "bound": "1.5s", "window": "hour",
        "warn_percent": "80", "min_samples": "100", "owner_email": "ada@example.test", **changes,
    }  # fmt: skip


def test_one_is_reviewed_saved_changed_and_deleted(admin: Client, demo: Organisation, route: Route) -> None:
    opened = admin.get(f"/performance-budgets/new/?for=route:{route.pk}")
    assert f'value="route {route.name}"' in opened.content.decode() and "admin-demo-performance@example.test" in opened.content.decode()
    review = admin.post("/performance-budgets/new/", {**form(route), **controls(opened)})
    assert "1500ms" in review.content.decode() and not PerformanceBudget.objects.exists()
    assert published(admin, "/performance-budgets/new/", form(route)).status_code == 302
    row = PerformanceBudget.objects.get()
    assert (row.scope_id, row.bound, row.window) == (str(route.pk), 1_500_000, "hour")
    assert not Version.objects.exists(), "proxies learn nothing of it"
    page = f"/performance-budgets/{row.pk}/"
    assert "nobody has looked yet" in admin.get(page).content.decode()
    again = admin.post("/performance-budgets/new/", {**form(route), **controls(admin.get("/performance-budgets/new/"))})
    assert again.status_code == 400 and "already: edit that one" in again.content.decode()
    changed = {name: value for name, value in form(route, bound="2s").items() if name not in ("name", "subject", "metric")}
    assert published(admin, f"{page}edit/", changed).status_code == 302
    row.refresh_from_db()
    assert row.bound == 2_000_000 and PerformanceBudget.objects.count() == 1
    assert "1500ms → 2s" in admin.get(page).content.decode()
    assert admin.post(f"{page}delete/", {"reason": "not needed"}).status_code == 302
    assert admin.get(page).status_code == 404 and "No performance budget yet" in admin.get("/performance-budgets/").content.decode()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"bound": "-1s"}, "write a duration above zero and at most 1h with its unit"),
        ({"bound": "nan"}, "write a duration above zero and at most 1h with its unit"),
        ({"bound": "9" * 30 + "s"}, "write a duration above zero and at most 1h with its unit"),
        ({"metric": "error_rate", "bound": "120%"}, "write a percentage above 0 and below 100"),
        ({"metric": "cost_per_request", "bound": "EUR 5"}, "amounts are in US dollars"),
        ({"warn_percent": "nan"}, "write a whole percentage of the bound from 1 to 100"),
        ({"min_samples": "3"}, "write a whole number of measurements from 20 to 1000000"),
        ({"owner_email": "nobody"}, "is not an e-mail address"),
        ({"owner_email": ""}, "This field is required"),
        ({"subject": "model"}, "name the model as its provider names it"),
        ({"subject": "route nowhere"}, "there is no route"),
        ({"metric": "latency"}, "valid choice"),
    ],
)
def test_bad_input_stays_in_the_form(admin: Client, route: Route, wrong: dict[str, str], says: str) -> None:
    answer = admin.post("/performance-budgets/new/", {**form(route, **wrong), **controls(admin.get("/performance-budgets/new/"))})
    assert answer.status_code == 400 and says in answer.content.decode()
    assert not PerformanceBudget.objects.exists()


def test_the_list_shows_the_worst_first_and_can_be_narrowed(admin: Client, made: dict[str, PerformanceBudget]) -> None:
    page = admin.get("/performance-budgets/").content.decode()
    places = [page.index(f"/performance-budgets/{made[name].pk}/") for name in ("breached", "warning", HOSTILE, "ok")]
    assert places == sorted(places) and HOSTILE not in page
    narrowed = admin.get("/performance-budgets/?verdict=breached&metric=cost_per_request&q=breach").content.decode()
    assert str(made["breached"].pk) in narrowed and str(made["ok"].pk) not in narrowed
    assert "No performance budgets match" in admin.get("/performance-budgets/?q=none").content.decode()
    for odd in ("?sort=-nonsense&page=99&verdict=x&metric=y", "?q=%00", "?sort=measured"):
        assert admin.get(f"/performance-budgets/{odd}").status_code == 200
    lines = admin.get("/performance-budgets/?format=csv&sort=name").getvalue().decode("utf-8-sig").splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "Performance budget,For,Verdict,What,Measured,Bound,Samples,Owner,Over,Why" and len(lines) == 5
    assert any(line.startswith("breached,model m,Breached,Cost per request,") for line in lines)


def test_a_page_shows_its_evidence_its_verdicts_and_its_plot(admin: Client, made: dict[str, PerformanceBudget]) -> None:
    page = admin.get(f"/performance-budgets/{made['breached'].pk}/").content.decode()
    assert "is above the bound of $0.001" in page and "figure-performance" in page and "at least 100" in page and "150" in page
    gpus = admin.get(f"/performance-budgets/{made[HOSTILE].pk}/").content.decode()
    assert "no GPUs measured" in gpus and "figure-performance" not in gpus and HOSTILE not in gpus
    assert "is no time" in admin.get(f"/performance-budgets/{made['ok'].pk}/?from=nonsense").content.decode()


@pytest.mark.parametrize("minute", [1, 5, 40])
def test_what_an_hour_that_has_only_begun_measured_is_drawn(
    admin: Client, demo: Organisation, actor: Actor, monkeypatch: pytest.MonkeyPatch, minute: int
) -> None:
    now = datetime.now(UTC).replace(hour=13, minute=minute, second=17)
    settle(many(demo, 150, now))
    monkeypatch.setattr(timezone, "now", lambda: now)
    more = {"owner_email": "ada@example.test", "window": "week", "scope": "model", "scope_id": "m"}
    row = performance_budget_set(actor=actor, organisation=demo, name="all of it", metric="cost_per_request", bound="0.001", **more)
    performance_evaluate()
    page = admin.get(f"/performance-budgets/{row.pk}/").content.decode()
    assert "is above the bound of $0.001" in page and "figure-performance" in page


def test_the_verdict_as_json(admin: Client, made: dict[str, PerformanceBudget]) -> None:
    found = admin.get("/performance-budgets/verdict/?route=chat&model=m").json()
    assert found["verdict"] == "breached" and found["why"] == "breached: breached"
    assert {one["name"]: one["state"] for one in found["budgets"]} == {"ok": "ok", "warning": "warning", "breached": "breached"}
    assert all(one["samples"] == 150 and one["why"] and one["starts_at"] < one["ends_at"] for one in found["budgets"])
    assert admin.get("/performance-budgets/verdict/?route=chat").json()["verdict"] == "warning"
    assert admin.get("/performance-budgets/verdict/?model=unheard-of").json()["verdict"] == "unknown"
    wrong = admin.get("/performance-budgets/verdict/?route=nowhere")
    assert wrong.status_code == 400 and "has no route" in wrong.json()["error"]
    assert admin.get("/performance-budgets/verdict/").status_code == 400


def test_who_may_and_how(demo: Organisation, made: dict[str, PerformanceBudget], admin: Client) -> None:
    page, viewer = f"/performance-budgets/{made['ok'].pk}/", client_of(member(demo, "viewer"))
    assert viewer.get(page).status_code == 200 == viewer.get("/performance-budgets/verdict/?model=m").status_code
    assert "Delete" not in viewer.get(page).content.decode()
    assert viewer.get("/performance-budgets/new/").status_code == 403 == viewer.get(f"{page}edit/").status_code
    assert viewer.post(f"{page}delete/", {"reason": "x"}).status_code == 403
    assert admin.get(f"{page}delete/").status_code == 405 == admin.post("/performance-budgets/verdict/?model=m").status_code
    stranger = client_of(member(Organisation.objects.create(name="Other", slug="other-performance"), "admin"))
    assert stranger.get(page).status_code == 404 == stranger.get(f"{page}edit/").status_code
    assert stranger.get("/performance-budgets/verdict/?model=m").json()["budgets"] == []
    assert Client().get("/performance-budgets/").status_code == 302


def test_no_more_queries_than_committed(made: dict[str, PerformanceBudget], admin: Client) -> None:
    one = f"/performance-budgets/{made['ok'].pk}/"
    urls = {
        "list": "/performance-budgets/",
        "list_filtered": "/performance-budgets/?q=a&verdict=breached&sort=-measured",
        "create": "/performance-budgets/new/",
        "detail": one,
        "detail_tokens": f"/performance-budgets/{made['warning'].pk}/?from=now-7d",
        "edit": f"{one}edit/",
        "verdict": "/performance-budgets/verdict/?route=chat&model=m",
    }
    assert urls.keys() == COUNTS.keys()
    found = {}
    for name, url in urls.items():
        assert admin.get(url).status_code == 200
        with CaptureQueriesContext(connection) as queries:
            assert admin.get(url).status_code == 200
        found[name] = len(queries)
    print(found)
    assert all(found[name] <= COUNTS[name] <= 12 for name in found), found
