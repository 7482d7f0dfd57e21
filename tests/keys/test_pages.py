"""The list and the page of a key: what they show, to whom, with how many queries, and with names of any kind."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import Organisation, User
from apps.audit.actors import Actor
from apps.budgets.models import Budget, BudgetWindow
from apps.keys import services
from apps.keys.handovers import handover_create
from apps.keys.models import VirtualKey
from apps.keys.palette import keys_for_palette
from apps.keys.request_services import key_request
from apps.keys.template_services import key_template_set
from apps.keys.wishes import Wish
from apps.ownership.models import Service, Team
from apps.publishing.services import publish
from apps.routes.models import Route
from apps.usage.models import UsageRequest
from tests.dashboard.generate import usage_generate
from tests.scale import FULL, MANY

COUNTS = Path(__file__).with_name("query_counts.json")
NAUGHTY = Path(__file__).resolve().parents[2] / ".." / "shared" / "material" / "vectors" / "blns" / "blns.json"


def body(client: Client, url: str, **headers: str) -> str:
    response = client.get(url, headers=headers)
    assert response.status_code == 200, (url, response.status_code)
    return b"".join(response.streaming_content).decode() if response.streaming else response.content.decode()


def budget(demo: Organisation, key: VirtualKey | None, *, spent: int) -> None:
    now = timezone.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    scope = "key" if key else "organisation"
    row = Budget.objects.create(organisation=demo, name=f"{scope} wall", scope=scope, window="day", limit_nano=10**10, key=key)
    BudgetWindow.objects.create(
        budget=row,
        starts_at=midnight,
        ends_at=midnight + timedelta(days=1),
        limit_nano=10**10,
        ceiling_nano=10**10,
        spent_nano=spent,
    )


def test_pages_ask_no_more_queries_than_committed(
    signed_in: Callable[..., Client], demo: Organisation, key: VirtualKey, actor: Actor
) -> None:
    usage_generate(organisation=demo, count=200, keys=[str(key.pk)])
    budget(demo, key, spent=10**9)
    client, allowed = signed_in(), json.loads(COUNTS.read_text())
    team = Team.objects.create(organisation=demo, name="Payments", slug="payments")
    key_template_set(actor=actor, team=team, routes=["*"], environments=["staging"], most_keys=3)
    asking = key_request(actor=actor, team=team, wish=Wish(name="wished", limits={"requests_per_minute": 5}), reason="a test")
    person = Actor.of_user(User.objects.get(email=f"admin-{demo.slug}@example.test"))
    handover = handover_create(actor=actor, organisation=demo, secrets=[(key, "bk-0123456789-x")], person_id=person.id)
    given = {"<id>": key.pk, "<asking>": asking.pk, "<team>": team.pk, "<handover>": handover.pk}
    services.key_rotate(actor=actor, key=key, old_until=timezone.now() + timedelta(days=1))
    publish(actor=actor, reason="as wherever pages are looked at")
    for name in allowed:
        url, _, fragment = name.partition(" ")
        for placeholder, value in given.items():
            url = url.replace(placeholder, str(value))
        headers = {"HX-Request": "true"} if fragment else {}
        url = url.replace("?q=", "?q=app&sort=-spend")
        body(client, url, **headers)
        with CaptureQueriesContext(connection) as queries:
            body(client, url, **headers)
        assert len(queries) <= allowed[name] <= 12, (f"{name}: {len(queries)}", [query["sql"][:110] for query in queries])


def test_the_list_shows_owner_use_budgets_and_every_status(
    signed_in: Callable[..., Client], demo: Organisation, key: VirtualKey, actor: Actor
) -> None:
    usage_generate(organisation=demo, count=200, keys=[str(key.pk)])
    budget(demo, key, spent=95 * 10**8)
    budget(demo, None, spent=0)
    team = Team.objects.create(organisation=demo, name="Payments", slug="payments")
    services.key_update(actor=actor, key=key, service=Service.objects.create(team=team, name="Checkout", slug="checkout"))
    now = timezone.now()
    for name, expires_at in (("soon", now + timedelta(days=3)), ("past", now - timedelta(days=1))):
        row, _ = services.key_create(actor=actor, organisation=demo, name=name)
        VirtualKey.objects.filter(pk=row.pk).update(expires_at=expires_at)
    for name, act in (("off", services.key_disable), ("gone", services.key_revoke)):
        act(actor=actor, key=services.key_create(actor=actor, organisation=demo, name=name)[0])
    client = signed_in("viewer")
    text = body(client, "/keys/")
    for words in ("Payments / Checkout", "Nearly used", key.public_id, "Expires soon", "Expired", "Disabled", 'title="200"'):
        assert words in text, words
    assert ">gone<" not in text and "New key" not in text
    assert ">gone<" in body(client, "/keys/?state=revoked")
    assert ">off<" in body(client, "/keys/?state=disabled") and ">soon<" not in body(client, "/keys/?state=disabled")
    assert "No keys match" in body(client, "/keys/?environment=staging")
    for asked in ("payments", key.public_id[:5], f"bk-{key.public_id}-whoever-pastes-all"):
        assert ">app<" in body(client, f"/keys/?q={asked}"), asked
    rows = {row["Key"]: row for row in csv.DictReader(io.StringIO(body(client, "/keys/?format=csv").removeprefix("\ufeff")))}
    assert set(rows) == {"app", "soon", "past", "off"} and rows["app"]["Requests"] == "200" and "95% of" in rows["app"]["Budgets"]
    assert int(rows["app"]["Nano-dollars"]) == sum(UsageRequest.objects.values_list("cost_nano", flat=True))


def test_the_page_shows_use_budgets_and_how_to_call(signed_in: Callable[..., Client], demo: Organisation, key: VirtualKey) -> None:
    usage_generate(organisation=demo, count=100, keys=[str(key.pk)], routes=("demo-chat",))
    budget(demo, key, spent=10**9)
    client = signed_in()
    text = body(client, f"/keys/{key.pk}/")
    assert "key wall" in text and "$1.00 spent" in text and "Last requests" in text and 'title="100"' in text
    connect = body(client, f"/keys/{key.pk}/?tab=connect")
    assert (
        "BULKHEAD_KEY" in connect and "demo-chat" in connect and "from openai import OpenAI" in connect and "npm install openai" in connect
    )
    VirtualKey.objects.filter(pk=key.pk).update(routes=["demo-embed", "later"])
    assert "demo-embed" in body(client, f"/keys/{key.pk}/?tab=connect")
    access = body(client, f"/keys/{key.pk}/?tab=access")
    assert "Named here and not there" in access and "later" in access
    Route.objects.bulk_create(Route(organisation=demo, name=f"a-{at:02}") for at in range(60))
    access = body(client, f"/keys/{key.pk}/?tab=access")
    assert access.index("demo-embed") < access.index("a-00") and "a-59" not in access and "50 of 62 routes" in access
    viewer = body(signed_in("viewer"), f"/keys/{key.pk}/")
    assert "Replace secret" not in viewer and 'id="revoke"' not in viewer


def test_waiting_for_the_first_request_ends_with_a_link_to_it(
    signed_in: Callable[..., Client], demo: Organisation, key: VirtualKey
) -> None:
    client, url = signed_in("viewer"), f"/keys/{key.pk}/first/"
    assert "Waiting for the first request" in body(client, url, **{"HX-Request": "true"})
    usage_generate(organisation=demo, count=5, over=timedelta(minutes=1), keys=[str(key.pk)])
    first = UsageRequest.objects.filter(key_id=str(key.pk)).order_by("started_at").first()
    assert first is not None
    since = int((first.started_at - timedelta(seconds=1)).timestamp() * 1000)
    text = body(client, f"{url}?since={since}", **{"HX-Request": "true"})
    assert "First request seen" in text and f"/requests/{first.id}/" in text and "hx-get" not in text
    later = int((timezone.now() + timedelta(minutes=1)).timestamp() * 1000)
    assert "Waiting" in body(client, f"{url}?since={later}", **{"HX-Request": "true"})
    assert (client.get(url).status_code == 302 and "Waiting" in body(client, f"{url}?since=nonsense", **{"HX-Request": "true"})) or first


def test_other_people_do_not_find_it(signed_in: Callable[..., Client], key: VirtualKey) -> None:
    stranger = signed_in("admin", Organisation.objects.create(name="Other", slug="other-tests"))
    for path in ("", "edit/", "rotate/", "first/"):
        assert stranger.get(f"/keys/{key.pk}/{path}", headers={"HX-Request": "true"} if path == "first/" else {}).status_code == 404
    assert ">app<" not in body(stranger, "/keys/")
    assert Client().get("/keys/")["Location"].startswith("/login/?next=")
    assert stranger.post("/keys/").status_code == 405


def test_the_palette_finds_keys_by_name_and_public_id_and_only_ones_own(
    signed_in: Callable[..., Client], demo: Organisation, key: VirtualKey
) -> None:
    signed_in("viewer")
    user = demo.memberships.get().user
    for asked in ("ap", key.public_id[:4], f"bk-{key.public_id}-secret"):
        [hit] = keys_for_palette(user, asked, 6)
        assert hit.title == "app" and hit.url == f"/keys/{key.pk}/?org=demo-tests"
    demo.memberships.all().delete()
    assert keys_for_palette(user, "ap", 6) == []


def test_names_of_any_kind_are_text_everywhere(signed_in: Callable[..., Client], demo: Organisation) -> None:
    if not NAUGHTY.is_file():
        pytest.skip(f"NO MATERIAL: {NAUGHTY} is missing, so hostile names are not tried")
    strings = [text.replace("\x00", "") for text in json.loads(NAUGHTY.read_text()) if text.strip("\x00")]
    team = Team.objects.create(organisation=demo, name="<img src=x onerror=alert(1)>" + "n" * 170, slug="long")
    rows = [
        VirtualKey(
            organisation=demo,
            name=f"{text[:70]} {at}",
            public_id=f"p{at:09}",
            team=team,
            feature=text[:80],
            tags=[text[:80]],
            routes=[text[:120]],
        )
        for at, text in enumerate(strings)
    ]
    VirtualKey.objects.bulk_create(rows)
    client = signed_in()
    for page in range(1, -(-len(rows) // 50) + 1):
        text = body(client, f"/keys/?page={page}")
        assert "<script>alert" not in text and "<img src=x" not in text
    for row in rows[:: 60 if FULL else 180]:
        for path in ("", "?tab=access", "?tab=connect", "edit/"):
            text = body(client, f"/keys/{row.pk}/{path}")
            assert "<script>alert" not in text and "<img src=x" not in text
    for line in csv.reader(io.StringIO(body(client, "/keys/?format=csv").removeprefix("\ufeff"))):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in line)


def test_very_many_keys_are_paged_sorted_and_searched(signed_in: Callable[..., Client], demo: Organisation, key: VirtualKey) -> None:
    VirtualKey.objects.bulk_create(VirtualKey(organisation=demo, name=f"key-{at:05}", public_id=f"p{at:09}") for at in range(MANY))
    usage_generate(organisation=demo, count=50, keys=[str(key.pk)])
    client = signed_in()
    first = body(client, "/keys/?sort=-requests")
    assert first.index(">app<") < first.index(">key-00000<") and first.count("<tr>") == 51
    assert f">key-{MANY - 1:05}<" in body(client, f"/keys/?page={MANY // 50 + 1}") and ">key-01777<" in body(client, "/keys/?q=01777")
