"""The estimator's page: typed and measured, priced as proxies would, saved as a budget through its review; what cannot be is said."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.estimates import route_measured
from apps.budgets.models import Budget
from apps.contracts.usage import Tokens
from apps.prices.services import gpu_price_set
from apps.providers.discounts import discount_set
from apps.providers.models import Provider
from apps.providers.prices import model_ensure, prices_set
from apps.providers.rules import PriceSpec
from apps.publishing.services import publish
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.budgets.test_limit_pages import controls
from tests.people import client_of, member
from tests.prices.conftest import YESTERDAY, Book, attempt, book, local  # noqa: F401

MOST_QUERIES = json.loads(Path(__file__).with_name("query_counts.json").read_text())["estimate"]
PAGE = "/budgets/estimate/"
TYPED = {"model": "local/m", "requests": "1,000,000", "input": "1000", "output": "500"}


@pytest.fixture
def admin(organisation: Organisation, actor: Actor, local: Provider) -> Client:  # noqa: F811
    gpu_price_set(actor=actor, organisation=organisation, name="own", gpu="NVIDIA H200", per_hour=2 * 10**9)
    publish(actor=actor, reason="a start")
    return client_of(member(organisation))


def estimate(client: Client, **changed: Any) -> Any:
    return client.get(PAGE, {**TYPED, **changed})


def test_a_month_as_typed_with_its_buffers(admin: Client) -> None:
    """$1 in and $2 out a million: $0.002 a request."""
    shown = estimate(admin)
    assert shown.status_code == 200
    assert shown.context["estimate"].month == 2_000 * 10**9
    text = shown.content.decode()
    for amount in ("$2,000", "$4,000", "$6,000"):
        assert amount in text
    assert 'value="1,000,000"' in text and "every request takes" in text.lower(), "the address is the state"


def test_cached_input_and_discounts_are_priced_as_proxies_would(admin: Client, organisation: Organisation, actor: Actor) -> None:
    provider = Provider.objects.get(name="local")
    prices_set(actor=actor, provider=provider, model="m", prices=[PriceSpec(input=10**9, output=2 * 10**9, cache_read=10**8)])
    discount_set(actor=actor, organisation=organisation, name="deal", provider=provider, discount=1_000)
    assert estimate(admin, cached="50").context["estimate"].month == (500 + 50 + 1_000) * 10**9 * 9 // 10


def test_a_free_model_has_no_budget_to_save(admin: Client, actor: Actor) -> None:
    prices_set(actor=actor, provider=Provider.objects.get(name="local"), model="free", prices=[PriceSpec(input=0, output=0)])
    text = estimate(admin, model="local/free").content.decode()
    assert "nothing to wall in" in text and "limit_nano" not in text


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"requests": "-3"}, "write a whole number from 1 to 1,000,000,000,000"),
        ({"requests": "0"}, "write a whole number from 1"),
        ({"requests": "nan"}, "write a whole number from 1"),
        ({"requests": "1e9"}, "write a whole number from 1"),
        ({"requests": "9" * 30}, "write a whole number from 1"),
        ({"requests": "1,00"}, "write a whole number from 1"),
        ({"requests": "١٢"}, "write a whole number from 1"),
        ({"requests": ""}, "say how many requests a month"),
        ({"input": "1.5"}, "write a whole number from 0 to 100,000,000"),
        ({"output": ""}, "say how many tokens a request takes"),
        ({"input": "0", "output": "0"}, "a request without any token"),
        ({"cached": "101"}, "write a whole number from 0 to 100"),
        ({"model": ""}, "choose a model of the price book"),
        ({"model": "local/other"}, "the price book has no model"),
        ({"model": "no-slash"}, "the price book has no model"),
        ({"model": "local/bare"}, "nothing prices"),
        ({"route": "unheard-of"}, "has answered nothing in the last 30 days"),
        ({"gpu": "own"}, "say how many tokens a second"),
        ({"gpu": "gone", "speed": "9"}, "has no GPU price now"),
        ({"gpu": "own", "speed": "0"}, "write a whole number from 1"),
        ({"gpu": "own", "speed": "1000", "busy": "0"}, "write a whole number from 1 to 100"),
        ({"model": "<script>alert(1)</script>"}, "&lt;script&gt;"),
    ],
)
def test_what_cannot_be_estimated_is_said_beside_its_field(admin: Client, changed: dict[str, str], says: str) -> None:
    model_ensure(actor=Actor.system("test"), provider=Provider.objects.get(name="local"), name="bare")
    shown = estimate(admin, **changed)
    text = shown.content.decode()
    assert shown.status_code == 400 and shown.context["estimate"] is None
    assert says in text.replace("&#x27;", "'") and "<script>alert" not in text


def test_a_route_as_it_was_measured(admin: Client, organisation: Organisation, actor: Actor, book: Book) -> None:  # noqa: F811
    """Four answers in ten hours: each priced by itself, their rate stretched to a month; a failure is no answer."""
    route_ensure(actor=actor, organisation=organisation, name="chat", targets=[TargetSpec("local", "m")])
    for hours, tokens in ((0, 1_000), (1, 2_000), (2, 3_000), (3, 100_000)):
        book(attempt(tokens=Tokens(input=tokens, output=500)), at=YESTERDAY + timedelta(hours=hours))
    book(attempt(outcome="error", tokens=Tokens(input=9)), at=YESTERDAY + timedelta(hours=4))
    found = route_measured(Scope(str(organisation.pk), False), "chat", now=YESTERDAY + timedelta(hours=10))
    assert (found.counted, found.a_month, found.model, len(found.uses)) == (4, 4 * 73, "local/m", 4)
    with pytest.raises(ServiceError):
        route_measured(Scope(str(organisation.pk), True), "chat")  # simulated traffic is another's
    tiers = ({"from_input_tokens": 50_000, "input": 2 * 10**9},)
    prices_set(actor=actor, provider=Provider.objects.get(name="local"), model="m", prices=[PriceSpec(input=10**9, output=0, tiers=tiers)])
    shown = admin.get(PAGE, {"route": "chat", "requests": "1000000"})
    one = shown.context["estimate"]
    assert one.month == (6_000 + 200_000) * 1_000 * 1_000_000 // 4, "only the long one meets its tier"
    assert (one.tokens_in.p50, one.tokens_in.p95) == (2_000, 100_000)
    assert b"route chat: 4 answers since" in shown.content
    assert admin.get(PAGE, {"route": "chat"}).context["estimate"].requests == one.measured.a_month, "left out: as measured"


def test_own_gpus_against_the_api(admin: Client) -> None:
    """One H200 at $2 is $1,460 a month; at $0.002 a request that is 730,000 requests."""
    shown = estimate(admin, gpu="own", speed="1000", busy="50")
    one = shown.context["estimate"]
    assert one.meeting.at == 730_000
    assert (one.hosted.replicas, one.hosted.hosted) == (2, 2_920 * 10**9), "1.5 billion tokens a month are more than one replica does"
    text = shown.content.decode()
    assert "Break-even at" in text and "paid busy or idle" in text
    slow = estimate(admin, gpu="own", speed="100").content.decode()
    assert "No number of requests makes hosting it cheaper" in slow


def test_one_click_leads_to_the_review_and_publishing_is_audited(admin: Client, organisation: Organisation) -> None:
    fields = dict(estimate(admin).context["budget_fields"])
    limits = [text for *_, text in estimate(admin).context["budget"]["limits"]]
    assert limits == ["2000", "4000", "6000"]
    review = admin.post("/budgets/new/", {**fields, "limit_nano": limits[1]})
    assert review.status_code == 200 and review.context["review"] is not None, review.context["form"].errors
    assert not Budget.objects.exists(), "nothing before it is published"
    sent = {**fields, "limit_nano": limits[1], **controls(review), "publish": "1", "reason": "as estimated"}
    assert admin.post("/budgets/new/", sent).status_code == 302
    made = Budget.objects.get()
    assert (made.scope, made.scope_ref, made.limit_nano, made.window, made.kind) == ("model", "m", 4_000 * 10**9, "month", "hard")
    event = AuditEvent.objects.get(action="budget.create", subject_id=str(made.pk))
    assert event.reason == "as estimated" and event.after["limit"] == "$4000"


def test_who_may(admin: Client, organisation: Organisation) -> None:
    viewer = client_of(member(organisation, "viewer"))
    shown = estimate(viewer).content.decode()
    assert "$2,000" in shown and "limit_nano" not in shown, "who may only look saves nothing"
    assert viewer.post("/budgets/new/", {}).status_code == 403
    assert admin.post(PAGE).status_code == 405
    assert Client().get(PAGE).status_code == 302
    other = client_of(member(Organisation.objects.create(name="Other", slug="other"), "admin"))
    assert b"the price book has no model" in estimate(other).content, "another organisation's prices are not ours"


def test_no_more_queries_than_committed(admin: Client, organisation: Organisation, actor: Actor, book: Book) -> None:  # noqa: F811
    route_ensure(actor=actor, organisation=organisation, name="chat", targets=[TargetSpec("local", "m")])
    book(at=YESTERDAY)
    for query in ({}, {**TYPED, "gpu": "own", "speed": "2000"}, {"route": "chat", "gpu": "own", "speed": "2000"}):
        admin.get(PAGE, query)
        with CaptureQueriesContext(connection) as queries:
            assert admin.get(PAGE, query).status_code == 200
        assert len(queries) <= MOST_QUERIES <= 12, "\n".join(one["sql"][:200] for one in queries)
