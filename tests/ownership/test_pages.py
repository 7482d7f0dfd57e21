"""Pages of ownership: what they show, what they do, whom they refuse, and how many queries they take."""

from __future__ import annotations

import json
from datetime import date, timedelta
from html import unescape
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import Organisation, TeamMembership
from apps.accounts.rules import Role
from apps.audit.models import AuditEvent
from apps.ownership import care_services, map_services, rotation_services
from apps.ownership.models import Cell, Layer, Region, Rotation, RotationOverride, Runbook, Service, Sla, Team
from apps.ownership.owned import owner_of
from apps.ownership.services import service_ensure
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.publishing.services import publish
from tests.ownership.conftest import COMMAND, person_of
from tests.people import client_of, member

pytestmark = pytest.mark.django_db
COUNTS = json.loads(Path(__file__).with_name("query_counts.json").read_text())


@pytest.fixture
def admin(organisation: Organisation) -> Client:
    return client_of(member(organisation))


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    return unescape(response.content.decode())


def send(client: Client, url: str, fields: dict[str, object]) -> str:
    """Fill in a form of the editing flow, review it, and publish what was reviewed; where it leads."""
    opened = client.get(url).context
    given = {**fields, "revision": opened["revision"], "submission": opened["submission"], "reason": "because"}
    reviewed = client.post(url, given)
    assert reviewed.status_code == 200, unescape(reviewed.content.decode())
    done = client.post(url, {**given, "publish": "1", "reviewed": reviewed.context["reviewed"]})
    assert done.status_code == 302, unescape(done.content.decode())
    return done["Location"]


@pytest.fixture
def drawn(organisation: Organisation, payments: Team, search: Team) -> Organisation:
    """A map of two regions, one declared and one in use only, with one cell owned."""
    map_services.layers_usual(actor=COMMAND, organisation=organisation)
    map_services.cell_set(actor=COMMAND, organisation=organisation, region="eu-west", layer="proxy", team=payments)
    endpoint = EndpointSpec("a", "https://api.example.com/v1", region="us-east")
    provider_ensure(actor=COMMAND, organisation=organisation, name="upstream", kind="openai", endpoints=[endpoint])
    return organisation


def test_the_map_shows_what_nobody_owns_and_gives_it_away(admin: Client, drawn: Organisation, search: Team) -> None:
    text = page(admin, "/ownership/")
    assert "9 of 10 unowned" in text and "in use only" in text and "no endpoint" in text
    sent = {"things": ["cell:data:us-east", "cell:provider:us-east"], "team": str(search.pk), "from": "map", "reason": "they run it"}
    assert admin.post("/ownership/assign/", sent)["Location"] == "/ownership/"
    text = page(admin, "/ownership/")
    assert "2 things given to Search" in text and "7 of 10 unowned" in text and "in use only" not in text
    assert set(Cell.objects.filter(team=search).values_list("layer__name", "region__name")) == {
        ("data", "us-east"),
        ("provider", "us-east"),
    }
    admin.post("/ownership/assign/", {**sent, "team": "", "things": ["cell:data:us-east"]})
    assert Cell.objects.filter(team=search).count() == 1


def test_what_nobody_owns_is_given_at_once(admin: Client, drawn: Organisation, search: Team) -> None:
    provider = drawn.providers.get()  # type: ignore[attr-defined]
    assert "upstream" in page(admin, "/ownership/unowned/")
    sent = {"things": [f"provider:{provider.pk}"], "team": str(search.pk), "from": "unowned"}
    assert admin.post("/ownership/assign/", sent)["Location"] == "/ownership/unowned/"
    assert owner_of(kind="provider", object_id=provider.pk) == search.pk
    assert "Everything has an owner" in page(admin, "/ownership/unowned/")
    assert "upstream" in page(admin, f"/ownership/teams/{search.pk}/?tab=owns")
    for wrong, said in [([], "Tick"), (["provider:x"], "no id"), (["moon:1"], "nothing that a team owns"), (["cell:moon:eu"], "no layer")]:
        admin.post("/ownership/assign/", {**sent, "things": wrong})
        assert said in page(admin, "/ownership/unowned/")
    assert admin.post("/ownership/assign/", {**sent, "team": "nobody-here"}).status_code == 404


def test_regions_and_layers_are_lines(admin: Client, organisation: Organisation) -> None:
    assert "application | Application" in page(admin, "/ownership/regions/"), "the usual ones are offered"
    lines = {"regions": "eu-west | Frankfurt\nus-east", "layers": "proxy | Gateway\ndata"}
    assert send(admin, "/ownership/regions/", lines) == "/ownership/"
    assert list(Region.objects.values_list("name", "title")) == [("eu-west", "Frankfurt"), ("us-east", "")]
    assert list(Layer.objects.values_list("name", "title")) == [("proxy", "Gateway"), ("data", "data")]
    send(admin, "/ownership/regions/", {"regions": "eu-west", "layers": "data | Data\nproxy | Gateway"})
    assert list(Layer.objects.values_list("name", flat=True)) == ["data", "proxy"] and Region.objects.count() == 1
    opened = admin.get("/ownership/regions/").context
    given = {"regions": "a\na", "layers": "", "revision": opened["revision"], "submission": opened["submission"]}
    assert "Named twice: a" in admin.post("/ownership/regions/", given).content.decode()


def test_a_team_with_its_contacts_services_and_slas(admin: Client, organisation: Organisation) -> None:
    contacts = "phone +49 30 1234567 | night\nemail pay@example.test"
    url = send(
        admin, "/ownership/teams/new/", {"slug": "pay", "name": "Pay & Co", "contacts": contacts, "contact_email": "pay@example.test"}
    )
    text = page(admin, url)
    assert "tel:+49301234567" in text and "pay@example.test" in text and "Nothing is promised" in text
    team = Team.objects.get(slug="pay")
    service_url = send(admin, f"{url}services/new/", {"slug": "checkout", "name": "Checkout"})
    sla = {"availability": "99.95", "window_days": "30", "warn_percent": "50", "page_percent": "90"}
    assert send(admin, f"{service_url}sla/", sla) == service_url
    assert "21 min of complete failure" in page(admin, service_url)
    send(admin, f"{url}edit/", {"name": "Payments", "contacts": "", "contact_email": ""})
    team.refresh_from_db()
    assert (team.slug, team.name, team.contacts.count()) == ("pay", "Payments", 0)
    assert admin.post(f"/ownership/slas/{Sla.objects.get().pk}/delete/", {"reason": "gone"})["Location"] == service_url
    assert not Sla.objects.exists()
    opened = admin.get("/ownership/teams/new/").context
    taken = {"slug": "pay", "name": "x", "revision": opened["revision"], "submission": opened["submission"]}
    assert "already: choose another short name" in unescape(admin.post("/ownership/teams/new/", taken).content.decode())


def test_a_lead_gives_roles_in_the_own_team_only(organisation: Organisation, payments: Team, search: Team) -> None:
    lead = client_of(person_of(payments, Role.MANAGER))
    new = member(organisation, "member")
    url = f"/ownership/teams/{payments.pk}/people/"
    sent = {"email": new.email, "role": "on-call"}
    assert lead.post(url, sent)["Location"].endswith("?tab=people")
    assert TeamMembership.objects.get(membership__user=new).role == "on-call"
    assert new.email in page(lead, f"/ownership/teams/{payments.pk}/?tab=people")
    assert lead.post(f"/ownership/teams/{search.pk}/people/", sent).status_code == 403
    assert "is given and taken by an admin" in unescape(lead.post(url, {**sent, "role": "admin"}).content.decode())
    assert "an admin gives one first" in unescape(lead.post(url, {**sent, "email": "who@example.test"}).content.decode())
    lead.post(url, {**sent, "remove": "1"})
    assert not TeamMembership.objects.filter(membership__user=new).exists()
    assert "Give a role" not in page(lead, f"/ownership/teams/{search.pk}/?tab=people")


def test_a_rotation_from_its_form_to_a_stand_in(admin: Client, organisation: Organisation, payments: Team) -> None:
    people = [member(organisation, "on-call", email=f"{name}@example.test") for name in ("ada", "bo")]
    fields = {
        "name": "pay", "kind": "on-call", "team": str(payments.pk), "people": "ada@example.test\nbo@example.test", "zone": "Europe/Berlin",
        "weekday": "0", "time": "09:00", "every_days": "7", "days": "", "from_time": "00:00", "to_time": "24:00",
    }  # fmt: skip
    url = send(admin, "/ownership/rotations/new/", fields)
    text = page(admin, url)
    assert "ada@example.test" in text and "Monday 09:00, every week" in text and "Nobody is on for" not in text
    assert "ada@example.test" in page(admin, f"/ownership/teams/{payments.pk}/")
    now = timezone.now()
    times = {"starts_at": f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M}", "ends_at": f"{now + timedelta(days=2):%Y-%m-%dT%H:%M}"}
    assert admin.post(f"{url}override/", {"person": str(people[1].pk), "reason": "ill", **times}).status_code == 302
    assert "stands in" in page(admin, url)
    override = RotationOverride.objects.get()
    assert admin.post(f"{url}override/{override.pk}/end/").status_code == 302
    assert admin.post(f"{url}override/{override.pk}/end/").status_code == 302, "a second time changes nothing"
    for wrong, said in [
        ({"people": "who@example.test"}, "invite them first"),
        ({"time": "25:00"}, "no time of day"),
        ({"zone": "Mars"}, "no time zone"),
    ]:
        opened = admin.get(f"{url}edit/").context
        refused = admin.post(f"{url}edit/", {**fields, **wrong, "revision": opened["revision"], "submission": opened["submission"]})
        assert refused.status_code == 400 and said in unescape(refused.content.decode())
    type(people[0]).objects.filter(pk=people[0].pk).update(is_active=False)
    assert "Nobody is on for" in page(admin, url) and "Nobody on" in page(admin, "/ownership/rotations/")
    assert admin.post(f"{url}delete/", {"reason": "merged"})["Location"] == "/ownership/rotations/"
    assert AuditEvent.objects.get(action="rotation.delete").reason == "merged"


def test_a_runbook_is_drawn_reviewed_and_deleted(admin: Client, organisation: Organisation, payments: Team) -> None:
    text = "# Look\n\n<script>alert(1)</script> [x](javascript:alert(1))"
    fields = {"name": "away", "title": "Provider <b>away</b>", "owner": str(payments.pk), "review_every_days": "90", "text": text}
    url = send(admin, "/ownership/runbooks/new/", fields)
    raw = admin.get(url).content.decode()
    assert "<h2>Look</h2>" in raw and "<script>alert" not in raw and 'href="javascript' not in raw and "Provider <b>" not in raw
    assert "Never reviewed" in page(admin, "/ownership/runbooks/?q=look")
    admin.post(f"{url}review/")
    assert Runbook.objects.get().reviewed_by == "admin-main@example.test" and "Reviewed" in page(admin, url)
    assert admin.get(f"{url}delete/").status_code == 405
    assert admin.post(f"{url}delete/", {"reason": "old"})["Location"] == "/ownership/runbooks/"
    assert admin.get(url).status_code == 404


def test_lists_are_csv_too(admin: Client, drawn: Organisation) -> None:
    for what, holds in (("teams", "Payments"), ("rotations", "Rotation"), ("runbooks", "Runbook")):
        assert holds in b"".join(admin.get(f"/ownership/{what}/?format=csv").streaming_content).decode()  # type: ignore[attr-defined]


def test_the_palette_finds_them(admin: Client, drawn: Organisation) -> None:
    care_services.runbook_set(actor=COMMAND, organisation=drawn, name="away", title="Payments away")
    found = page(admin, reverse("ui:palette") + "?q=payments")
    assert "/ownership/teams/" in found and "/ownership/runbooks/" in found


def test_pages_ask_no_more_queries_than_committed(admin: Client, drawn: Organisation, payments: Team) -> None:
    people = [member(drawn, "on-call", email=f"p{at}@example.test") for at in range(4)]
    for at in range(3):
        service_ensure(actor=COMMAND, team=payments, slug=f"s{at}")
        name = f"r{at}"
        rotation_services.rotation_set(
            actor=COMMAND, organisation=drawn, name=name, team=payments, starts_on=date(2026, 1, 5), members=people[: at + 1]
        )
        care_services.runbook_set(actor=COMMAND, organisation=drawn, name=name, title=name, owner=payments)
    care_services.sla_set(actor=COMMAND, team=payments, availability=99_900)
    ids = {"team": payments, "service": Service.objects.first(), "rotation": Rotation.objects.first(), "runbook": Runbook.objects.first()}
    ids["sla"] = Sla.objects.first()
    publish(actor=COMMAND, reason="as wherever pages are looked at")
    page(admin, "/ownership/")
    for pattern, committed in COUNTS.items():
        url = pattern
        for name, row in ids.items():
            assert row is not None
            url = url.replace(f"<{name}>", str(row.pk))
        with CaptureQueriesContext(connection) as seen:
            page(admin, url)
        assert len(seen) <= committed <= 12, (pattern, *(query["sql"][:160] for query in seen))
