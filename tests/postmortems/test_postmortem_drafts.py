"""Drafts by a model: off until somebody names a route and a key, made of the evidence alone, beside the text and never part of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone as clock

from apps.accounts.models import Organisation, User
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.identifiers import uuid7
from apps.keys.models import VirtualKey
from apps.keys.services import key_create
from apps.postmortems.models import Postmortem
from apps.postmortems.postmortem_drafts import EVERYWHERE, draft_ask, draft_take, drafts_wanted
from apps.postmortems.postmortem_figures import lasting
from apps.postmortems.postmortem_selectors import template_now
from apps.postmortems.postmortem_template_services import template_set
from apps.publishing.models import ProxyProcess
from apps.simulator.harness import SimulatorServer
from tests.ownership.test_pages import page
from tests.people import client_of, member
from tests.postmortems.learning import COMMAND, ready

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def model() -> Iterator[SimulatorServer]:
    """Answers as a route of ours would."""
    with SimulatorServer("sim-draft") as server:
        yield server


@pytest.fixture
def author(organisation: Organisation) -> User:
    return member(organisation, "member")


@pytest.fixture
def postmortem(organisation: Organisation, author: User, model: SimulatorServer) -> Postmortem:
    """One with evidence, of an organisation that wants drafts, with a proxy that answers as the simulator does."""
    model.control(server={})
    model.reset()
    proxy_at(model.url)
    key, _ = key_create(actor=COMMAND, organisation=organisation, name="drafts")
    drafts(organisation, "chat", key)
    return ready(organisation, author)


def proxy_at(url: str) -> None:
    now = clock.now()
    ProxyProcess.objects.all().delete()
    ProxyProcess.objects.create(
        boot_id=uuid7(), name="proxy-1", host="h", pid=1, public_url=url, admin_url="", state="ready", detail={}, version=1, acked_at=now,
        registered_at=now, last_seen_at=now,
    )  # fmt: skip


def drafts(organisation: Organisation, route: str = "", key: VirtualKey | None = None) -> None:
    """Say in the template who is asked, or that nobody is."""
    sections = template_now(organisation).sections
    template_set(actor=COMMAND, organisation=organisation, sections=sections, draft_route=route, draft_key=key)


def again(row: Postmortem) -> Postmortem:
    return Postmortem.objects.get(pk=row.pk)


def test_it_is_off_until_a_route_and_a_key_are_named(organisation: Organisation, author: User) -> None:
    row, mel = ready(organisation, author), client_of(author)
    with pytest.raises(ServiceError, match="Drafts by a model are off"):
        draft_ask(actor=Actor.of_user(author), postmortem=row)
    assert "Propose a draft" not in page(mel, f"/postmortems/{row.pk}/edit/")
    assert drafts_wanted() == [] and draft_take(row.pk) == ""


def test_a_draft_is_made_of_the_evidence_and_stands_beside_the_text(postmortem: Postmortem, author: User, model: SimulatorServer) -> None:
    mel, before, sent = client_of(author), dict(again(postmortem).texts), list[httpx.Request]()
    assert "Propose a draft" in page(mel, f"/postmortems/{postmortem.pk}/edit/")
    for _ in range(2):
        mel.post(f"/postmortems/{postmortem.pk}/draft/")
    assert drafts_wanted() == [postmortem.pk] and AuditEvent.objects.filter(action="postmortem.ask_draft").count() == 1
    client = httpx.Client(event_hooks={"request": [sent.append]}, timeout=60)
    text = draft_take(postmortem.pk, client=client)
    assert text and draft_take(postmortem.pk) == "", "asked for once, however often it is handed out"
    (request,) = sent
    body = json.loads(request.content)
    assert request.headers["authorization"].startswith("Bearer ") and (body["model"], model.bill()["requests"]) == ("chat", 1)
    said = body["messages"][1]["content"]
    assert "Incident INC-1, SEV1: Chat fails" in said and f"Mitigated after: {lasting(2_400)}" in said and "Resolved" in said
    assert "About the summary" not in said, "what people wrote is not sent"
    row = again(postmortem)
    assert (row.draft, row.drafted_by, row.drafting, row.draft_error) == (text, "chat", "", "") and row.texts == before
    shown = page(mel, f"/postmortems/{row.pk}/")
    assert text in shown and "A draft: check every word" in shown
    assert text not in mel.get(f"/postmortems/{row.pk}/export/").content.decode()


def test_why_there_is_no_draft_is_said_and_the_last_one_stays(postmortem: Postmortem, author: User, model: SimulatorServer) -> None:
    actor = Actor.of_user(author)

    def asked() -> str:
        draft_ask(actor=actor, postmortem=postmortem)
        draft_take(postmortem.pk)
        return again(postmortem).draft_error

    assert asked() == ""
    first = again(postmortem).draft
    model.control(server={"errors": [{"share": 1.0, "fault": "429"}]})
    assert asked().startswith("The route chat answered 429: ")
    model.control(server={"errors": [{"share": 1.0, "fault": "truncated_json"}]})
    assert "JSONDecodeError" in asked()
    model.control(server={"errors": [{"share": 1.0, "fault": "reset"}]})
    assert "Error" in asked()
    ProxyProcess.objects.all().delete()
    assert "No proxy has been heard of" in asked()
    assert again(postmortem).draft == first and "No draft" in page(client_of(author), f"/postmortems/{postmortem.pk}/")
    draft_ask(actor=actor, postmortem=postmortem)
    Postmortem.objects.update(drafting="running", changed_at=clock.now() - timedelta(minutes=11))
    assert drafts_wanted() == [] and "ended in the middle" in again(postmortem).draft_error
    draft_ask(actor=actor, postmortem=postmortem)
    drafts(postmortem.organisation)
    assert draft_take(postmortem.pk) == "" and "turned off meanwhile" in again(postmortem).draft_error


def test_a_proxy_that_listens_everywhere_is_called_on_its_host(postmortem: Postmortem, model: SimulatorServer) -> None:
    for address in sorted(EVERYWHERE):
        host = f"[{address}]" if ":" in address else address
        proxy_at(f"http://{host}:{model.port}")
        ProxyProcess.objects.update(host=httpx.URL(model.url).host)
        draft_ask(actor=COMMAND, postmortem=postmortem)
        assert draft_take(postmortem.pk), again(postmortem).draft_error
