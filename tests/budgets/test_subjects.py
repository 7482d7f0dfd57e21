"""What budgets and limits are for, as people type it: read by name, suggested by a part of it, refused with what to type instead."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.budgets.subject_field import SCOPES
from apps.budgets.subjects import EVERY_USER, MOST, MOST_EACH, WHOLE, subject_read, subject_text, subjects_suggested
from apps.keys.services import key_create
from apps.ownership.models import Service, Team
from apps.providers.models import Provider
from apps.routes.models import Route
from tests.people import client_of, member

ALL = SCOPES["budget"]


@pytest.fixture
def acme(db: None, actor: Actor) -> Organisation:
    acme = Organisation.objects.create(name="Acme", slug="acme-subjects")
    search = Team.objects.create(organisation=acme, name="Search & Find", slug="search")
    Team.objects.create(organisation=acme, name="Chat", slug="chat")
    Service.objects.create(team=search, name="Ranking", slug="ranking")
    Provider.objects.create(organisation=acme, name="east", kind="openai")
    Route.objects.create(organisation=acme, name="chat")
    key_create(actor=actor, organisation=acme, name="team-app")
    other = Organisation.objects.create(name="Other", slug="other-subjects")
    Team.objects.create(organisation=other, name="Secret", slug="secret")
    return acme


@pytest.mark.parametrize(
    ("typed", "scope", "again"),
    [
        ("team search", "team", "team search"),
        ("TEAM  search & find", "team", "team search"),
        ("service search/ranking", "service", "service search/ranking"),
        ("search/ranking", "service", "service search/ranking"),
        ("key team-app", "key", "key team-app"),
        ("provider east", "provider", "provider east"),
        ("route:chat", "route", "route chat"),
        ("model openai/gpt-4o", "model", "model openai/gpt-4o"),
        ("user ada", "user", "user ada"),
        (f"  {WHOLE.title()} ", "organisation", WHOLE),
        ("every user", "user", EVERY_USER),
    ],
)
def test_what_is_typed_is_found_and_shown_as_it_is_typed(acme: Organisation, typed: str, scope: str, again: str) -> None:
    found = subject_read(acme, ALL, typed)
    assert found[0] == scope
    assert subject_text(acme, *found) == again
    assert subject_read(acme, ALL, again) == found
    assert subject_read(acme, ALL, f"{found[0]}:{found[1]}") == found  # as links have it


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("key", "there is no key ''"),
        ("key te", "did you mean team-app"),
        ("key nobody", "choose one that is suggested, or create it first"),
        ("chat", "“team chat”, “route chat”"),
        ("nobody", "say what it is, and its name, such as “team search” or “model gpt-4o-mini”"),
        ("team secret", "there is no team 'secret'"),
        ("service nowhere", "there is no service"),
        ("organisation of others", "say what it is"),
    ],
)
def test_what_is_not_there_is_refused_with_what_to_type(acme: Organisation, typed: str, says: str) -> None:
    with pytest.raises(ServiceError) as refused:
        subject_read(acme, ALL, typed)
    assert says in refused.value.message and refused.value.field == "scope_id"


def test_suggestions_are_few_of_each_and_only_of_this_organisation(acme: Organisation, actor: Actor) -> None:
    assert subjects_suggested(acme, ALL, "")[:2] == [WHOLE, EVERY_USER]
    assert subjects_suggested(acme, ("team", "key", "model"), "te") == ["key team-app", "model te"]
    assert subjects_suggested(acme, ALL, "team e") == ["team search"]
    assert subjects_suggested(acme, ALL, "secret") == ["user secret", "model secret", "feature secret", "tag secret"]
    Route.objects.bulk_create(Route(organisation=acme, name=f"r{number:04}") for number in range(200))
    assert len(subjects_suggested(acme, ALL, "route r")) == MOST
    assert sum(text.startswith("route ") for text in subjects_suggested(acme, ALL, "r")) == MOST_EACH


def test_the_address_of_suggestions(acme: Organisation) -> None:
    client = client_of(member(acme, "viewer"))
    Team.objects.create(organisation=acme, name="<b>", slug="odd")
    with CaptureQueriesContext(connection) as queries:
        shown = client.get("/budgets/subjects/?of=limit&subject=chat").content.decode()
    assert len(queries) <= 12
    assert 'value="team chat"' in shown and 'value="route chat"' in shown and 'value="model chat"' in shown and "feature" not in shown
    assert client.get("/budgets/subjects/?of=nothing&subject=%00%3Cb%3E").status_code == 200
    assert "<b>" not in client.get("/budgets/subjects/?subject=model+%3Cb%3E").content.decode()
    assert client.post("/budgets/subjects/").status_code == 405
