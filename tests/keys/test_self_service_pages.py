"""Pages of self-service and imports: what a member sees, what is shown once, what is refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Membership, Organisation, TeamMembership, User
from apps.audit.actors import Actor
from apps.keys import services
from apps.keys.models import KeyDigest, KeyHandover, KeyRequest, KeyTemplate, VirtualKey
from apps.keys.self_service_forms import packed, unpacked
from apps.ownership.models import Team
from apps.publishing.models import Version
from tests.people import client_of

TOKEN = r"bk-[a-z2-9]{10}-[\w-]{43}"


@pytest.fixture
def team(demo: Organisation) -> Team:
    team = Team.objects.create(organisation=demo, name="Payments", slug="payments")
    KeyTemplate.objects.create(team=team, routes=["demo-chat"], environments=["staging"], most_keys=1, limits={"requests_per_minute": 9})
    return team


@pytest.fixture
def people(demo: Organisation, team: Team) -> dict[str, Client]:
    """A member and a manager of the team, who only look elsewhere; somebody who is a member of the organisation alone."""
    clients = {}
    for name, role, team_role in (("mia", "viewer", "member"), ("max", "viewer", "manager"), ("otto", "member", "")):
        user = User.objects.create(email=f"{name}@example.test", name=name.title())
        membership = Membership.objects.create(user=user, organisation=demo, role=role)
        if team_role:
            TeamMembership.objects.create(membership=membership, team_id=team.pk, team_slug=team.slug, role=team_role)
        clients[name] = client_of(user)
    return clients


def asked(team: Team, **more: str) -> dict[str, str]:
    wish = {"service": f"team:{team.pk}", "name": "app", "environment": "staging", "all_routes": "on", "reason": "a spike"}
    return {**wish, **more}


def test_a_member_makes_a_key_at_once_and_sees_its_secret(people: dict[str, Client], team: Team) -> None:
    page = people["mia"].get("/keys/ask/").content.decode()
    assert "at most 1 keys" in page and "9 requests per minute" in page and "Make the key" in page
    made = people["mia"].post("/keys/ask/", asked(team, addresses="192.0.2.0/24"))
    key = VirtualKey.objects.get(name="app")
    assert made.status_code == 200 and f"bk-{key.public_id}-" in made.content.decode() and "no-store" in made["Cache-Control"]
    assert key.routes == ["demo-chat"] and key.addresses == ["192.0.2.0/24"] and Version.objects.exists()
    detail = people["mia"].get(f"/keys/{key.pk}/").content.decode()
    assert "192.0.2.0/24" in detail and "Replace secret" in detail and "/edit/" not in detail, "who makes a key holds its secret"
    assert "Replace secret" not in people["otto"].get(f"/keys/{key.pk}/").content.decode()
    assert "Replace secret" in people["max"].get(f"/keys/{key.pk}/").content.decode()


def test_what_lies_outside_is_said_then_asked_then_approved_then_fetched_once(people: dict[str, Client], team: Team) -> None:
    mia, manager = people["mia"], people["max"]
    wish = asked(team, environment="production", name="live", budget="12.50", budget_window="week")
    said = mia.post("/keys/ask/", wish).content.decode()
    assert "the environment production" in said and "Ask a manager" in said and not VirtualKey.objects.exists()
    sent = mia.post("/keys/ask/", {**wish, "ask": "1"})
    row = KeyRequest.objects.get()
    assert sent["Location"] == f"/keys/requests/{row.pk}/"
    url = f"/keys/requests/{row.pk}/"
    assert "live" in manager.get("/keys/requests/").content.decode() and "$12.50 per week" in manager.get(url).content.decode()
    assert "Approve" not in mia.get(url).content.decode() and "Take back" in mia.get(url).content.decode()
    assert mia.post(f"{url}approve/").status_code == 403 and people["otto"].post(f"{url}approve/").status_code == 403
    assert KeyRequest.objects.get().state == "open"
    assert manager.post(f"{url}approve/", {"reason": "go"})["Location"] == url
    handover = KeyHandover.objects.get()
    assert "Show the secret" in mia.get(url).content.decode() and "Show the secret" not in manager.get(url).content.decode()
    assert "waits for you" in mia.get("/keys/requests/?show=mine").content.decode()
    assert manager.get(f"/keys/secrets/{handover.pk}/").status_code == 404 == manager.post(f"/keys/secrets/{handover.pk}/").status_code
    shown = mia.post(f"/keys/secrets/{handover.pk}/")
    assert f"bk-{VirtualKey.objects.get().public_id}-" in shown.content.decode() and "no-store" in shown["Cache-Control"]
    assert mia.post(f"/keys/secrets/{handover.pk}/").status_code == 302
    again = mia.get(f"/keys/secrets/{handover.pk}/").content.decode()
    assert "Fetched" in again and "bk-" not in again


def test_rejecting_needs_a_reason_and_withdrawing_is_ones_own(people: dict[str, Client], team: Team) -> None:
    for name in ("one", "two"):
        people["otto"].post("/keys/ask/", asked(team, name=name, ask="1"))
    one, two = (KeyRequest.objects.get(name=name) for name in ("one", "two"))
    people["max"].post(f"/keys/requests/{one.pk}/reject/")
    assert KeyRequest.objects.get(pk=one.pk).state == "open"
    people["max"].post(f"/keys/requests/{one.pk}/reject/", {"reason": "use <b>staging</b>"})
    page = people["otto"].get(f"/keys/requests/{one.pk}/").content.decode()
    assert "Rejected" in page and "use &lt;b&gt;staging" in page
    people["mia"].post(f"/keys/requests/{two.pk}/withdraw/")
    assert KeyRequest.objects.get(pk=two.pk).state == "open"
    people["otto"].post(f"/keys/requests/{two.pk}/withdraw/")
    assert KeyRequest.objects.get(pk=two.pk).state == "withdrawn"


def test_wrong_input_is_told_beside_its_field(people: dict[str, Client], team: Team) -> None:
    for field, value, says in (
        ("addresses", "office", "not a range of addresses"),
        ("budget", "5 dollars", "dollars"),
        ("requests_per_minute", "many", "not an amount"),
        ("name", "No Spaces", "not a name"),
        ("service", "", "required"),
    ):
        answer = people["mia"].post("/keys/ask/", asked(team, **{field: value}))
        assert answer.status_code == 400 and says in answer.content.decode(), field
    assert not VirtualKey.objects.exists()


def test_a_template_is_reviewed_saved_and_deleted(signed_in: Callable[..., Client], demo: Organisation, people: dict[str, Client]) -> None:
    manager, team = signed_in("manager"), Team.objects.create(organisation=demo, name="Search", slug="search")
    url = f"/keys/templates/{team.pk}/"
    assert people["max"].get(url).status_code == 403 and "nothing: members ask" in people["max"].get("/keys/templates/").content.decode()
    form = {
        "environments": ["staging"],
        "routes": "demo-chat",
        "most_keys": "4",
        "budget": "20",
        "budget_window": "day",
        "tokens_per_day": "7",
    }
    page = manager.get(url).context
    form |= {"revision": page["revision"], "submission": page["submission"]}
    review = manager.post(url, form)
    assert "tokens_per_day" in review.content.decode() and not KeyTemplate.objects.filter(team=team).exists()
    done = manager.post(url, {**form, "reviewed": review.context["reviewed"], "publish": "1", "reason": "teams help themselves"})
    assert done.status_code == 302
    row = KeyTemplate.objects.get(team=team)
    assert (row.routes, row.most_keys, row.budget_nano, row.limits) == (["demo-chat"], 4, 20 * 10**9, {"tokens_per_day": 7})
    assert "$20" in manager.get("/keys/templates/").content.decode()
    manager.post(f"{url}delete/", {"reason": "not any more"})
    assert not KeyTemplate.objects.filter(team=team).exists()


def test_a_file_is_reported_on_then_imported_then_its_secrets_fetched_once(signed_in: Callable[..., Client], demo: Organisation) -> None:
    admin = signed_in()
    digest = sha256(b"sk-older").hexdigest()

    def look(text: str) -> object:
        return admin.post("/keys/import/", {"file": SimpleUploadedFile("keys.csv", text.encode()), "reason": "moving"})

    bad = look("name,budget\nfine,\nNo,\n")
    assert bad.status_code == 400 and "refused" in bad.content.decode() and 'name="import"' not in bad.content.decode()
    assert look("name,secret\na,sk-live-1\n").status_code == 400
    good = look(f"name,sha256,requests_per_minute\nkept,{digest},\nfresh,,5\n<b>,,\n".replace("<b>", "third"))
    text = good.content.decode()
    assert "3 new" in text and "keeps its secret" in text and not VirtualKey.objects.exists()
    content = good.context["form"].initial["content"]
    done = admin.post("/keys/import/", {"content": content, "import": "1", "reason": "moving"})
    handover = KeyHandover.objects.get()
    assert done["Location"] == f"/keys/secrets/{handover.pk}/" and handover.count == 2 and VirtualKey.objects.count() == 3
    file = admin.post(f"/keys/secrets/{handover.pk}/")
    assert "attachment" in file["Content-Disposition"] and "no-store" in file["Cache-Control"]
    found = {row["name"]: row["secret"] for row in csv.DictReader(io.StringIO(file.content.decode()))}
    assert KeyDigest.objects.get(digest=services.key_digest(found["fresh"])).key.name == "fresh" and set(found) == {"fresh", "third"}
    assert admin.post(f"/keys/secrets/{handover.pk}/").status_code == 302
    for content in ("", "!!", packed(b"x" * (2 << 20))):
        assert admin.post("/keys/import/", {"content": content, "import": "1"}).status_code == 400
    assert unpacked(packed(b"name\n")) == b"name\n"


def test_two_secrets_are_shown_with_their_last_use(
    signed_in: Callable[..., Client], demo: Organisation, key: VirtualKey, actor: Actor
) -> None:
    client, url = signed_in(), f"/keys/{key.pk}/?tab=connect"
    assert "Replaced secret" not in client.get(url).content.decode()
    services.key_rotate(actor=actor, key=key, old_until=timezone.now() + timedelta(days=1))
    page = client.get(url).content.decode()
    assert page.count("not since it was replaced") == 2 and "New secret" in page
