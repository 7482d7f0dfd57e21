"""What a document manages: marked where it is shown, held up where it is edited, let through in an emergency."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.flags.services import flag_flip, flag_set
from apps.keys.services import key_create, key_revoke
from apps.ownership.care_services import sla_set
from apps.ownership.map_services import cell_set
from apps.ownership.models import Team
from apps.publishing.managed import Guard, ManagedByDocument
from apps.publishing.models import ManagedThing, Version
from apps.publishing.preview import change_publish
from apps.routes.breakers import breaker_force
from apps.routes.models import Route
from apps.routes.selectors import target_specs
from apps.routes.services import route_update
from controlplane.configfile.apply import apply_file
from controlplane.configfile.plain import yaml_text
from controlplane.configfile.writing import document_of
from tests.people import client_of, member
from tests.publishing.test_editing import FORM, hidden, opened, text

COMMAND = Actor.command("apply")
MORE = """
teams: [{name: ops, sla: {availability: "99.9"}}, {name: web}]
layers: [{name: proxy}]
regions: [{name: eu, owners: [{layer: proxy, team: ops}]}]
keys: [{name: app}]
flags: [{name: chat-stop, kind: kill, route: chat, acknowledge: true, 'on': false}]
"""


@pytest.fixture(autouse=True)
def _urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.publishing.editing_pages"):
        yield


@pytest.fixture
def path(main: Organisation, tmp_path: Path) -> Path:
    """A document that lists the installation's provider and route, and a few more things; applied by somebody called ops."""
    found = tmp_path / "bulkhead.yaml"
    found.write_text(yaml_text(document_of(main)) + MORE, encoding="utf-8")
    apply_again(found)
    return found


def apply_again(path: Path, **more: Any) -> list[str]:
    return apply_file(actor=COMMAND, path=path, organisation="main", by="ops", **more).lines


def watched(main: Organisation, change: Any, **more: Any) -> Guard[Any]:
    """The change, done and published under the guard."""
    guard: Guard[Any] = Guard(change, actor=COMMAND, organisation=main, reason="because", **more)
    change_publish(actor=COMMAND, reason="because", change=guard)
    return guard


def mark_of(kind: str) -> ManagedThing:
    return ManagedThing.objects.get(kind=kind)


def test_lists_details_and_forms_name_the_document(path: Path, admin: Client, main: Organisation) -> None:
    route, mark = Route.objects.get(), mark_of("route")
    assert mark.document == "bulkhead.yaml" and mark.applied_by == "ops" and mark.line > 1
    for url in ("/routes/", f"/routes/{route.pk}/", f"/routes/{route.pk}/edit/", "/flags/", "/flags/chat-stop/", "/ownership/"):
        page = text(admin.get(url))
        assert "bulkhead.yaml" in page and "/config/managed/" in page, url
    assert "an apply leaves them as they are" in text(admin.get(f"/routes/{route.pk}/"))
    said = text(admin.get(f"/config/managed/{mark.pk}/"))
    assert "It is as its document says" in said and "- name: chat" in said and "ops" in said
    other = Organisation.objects.create(name="Elsewhere", slug="elsewhere")
    assert client_of(member(other)).get(f"/config/managed/{mark.pk}/").status_code == 404


def test_an_edit_is_shown_as_what_to_write_and_published_only_on_purpose(path: Path, admin: Client, main: Organisation) -> None:
    response = admin.post("/edit/chat/edit/", opened(admin) | FORM)
    page = text(response)
    assert response.status_code == 200 and "max_attempts: 5" in page and "Publish anyway" in page and 'name="anyway"' in page
    sent = FORM | hidden(response) | {"publish": "1", "reason": "now"}
    refused = admin.post("/edit/chat/edit/", sent)
    assert refused.status_code == 409 and "Nothing was published" in text(refused)
    assert admin.post("/edit/chat/edit/", sent | {"anyway": "1", "reason": ""}).status_code == 400, "it takes a reason"
    assert Route.objects.get().max_attempts == 3 and Version.objects.count() == 2

    assert admin.post("/edit/chat/edit/", sent | {"anyway": "1"}).status_code == 302
    assert Route.objects.get().max_attempts == 5
    event = AuditEvent.objects.get(action="config.override")
    assert (event.subject_name, event.reason, event.before["document"]) == ("chat", "now", "bulkhead.yaml")  # type: ignore[index]
    assert event.after == {"max_attempts": "5"}
    mark = mark_of("route")
    assert mark.edited_by == "ada@example.test" and mark.edited_at is not None
    assert "It differs from its document" in text(admin.get(f"/config/managed/{mark.pk}/"))
    assert apply_again(path) == ["~ route chat", "    ~ max_attempts: 5 -> 3"]
    assert mark_of("route").edited_at is None and Route.objects.get().max_attempts == 3


def test_who_may_not_override_gets_the_entry_and_no_button(path: Path, main: Organisation) -> None:
    team = Team.objects.get(slug="ops")
    manager = member(main, "viewer", email="lead@example.test")
    guard = Guard(
        lambda: sla_set(actor=COMMAND, team=team, availability=99_000),
        actor=Actor.of_user(manager), organisation=main, anyway=True, reason="mine",
    )  # fmt: skip
    with pytest.raises(PermissionRefused):
        guard()
    assert team.slas.get().availability == 99_900


def test_an_act_is_held_up_and_done_again_with_the_same_fields(path: Path, admin: Client) -> None:
    held = admin.post("/edit/chat/disable/", {"reason": "it burns", "why": "x"})
    page = text(held)
    assert held.status_code == 409 and "enabled: false" in page and "Do it anyway" in page and Route.objects.get().enabled
    sent = dict(re.findall(r'<input type="hidden" name="(why|anyway)" value="([^"]*)">', unescape(page)))
    assert sent == {"why": "x", "anyway": "1"}
    assert admin.post("/edit/chat/disable/", sent | {"reason": "it burns"}).status_code == 302
    assert not Route.objects.get().enabled
    assert "bulkhead.yaml says enabled: true" in text(admin.get("/proxies/")), "the toast says what the next apply does"


def test_parts_lead_to_the_thing_whose_entry_holds_them(path: Path, main: Organisation) -> None:
    ops, web = Team.objects.get(slug="ops"), Team.objects.get(slug="web")
    with pytest.raises(ManagedByDocument, match="manages the team ops") as refused:
        watched(main, lambda: sla_set(actor=COMMAND, team=ops, availability=99_500))
    assert "availability: '99.5'" in refused.value.touched[0].comparison.now
    with pytest.raises(ManagedByDocument, match="manages the region eu"):
        watched(main, lambda: cell_set(actor=COMMAND, organisation=main, region="eu", layer="proxy", team=web))
    with pytest.raises(ManagedByDocument, match="manages the team web"):
        watched(main, lambda: sla_set(actor=COMMAND, team=web, availability=99_500))
    assert ops.slas.get().availability == 99_900 and not web.slas.exists()


def test_what_no_entry_says_is_nobodys_business(path: Path, main: Organisation) -> None:
    route = Route.objects.get()
    target = target_specs(route)[0]
    guard = watched(main, lambda: breaker_force(actor=COMMAND, route=route, target=target, state="open", reason="errors"))
    assert guard.touched == []
    watched(main, lambda: key_create(actor=COMMAND, organisation=main, name="another"))
    with pytest.raises(ServiceError, match="say why"):
        Guard(lambda: route_update(actor=COMMAND, route=route, max_attempts=2), actor=COMMAND, organisation=main, anyway=True)()


def test_what_differed_before_holds_nothing_up(path: Path, main: Organisation) -> None:
    route_update(actor=COMMAND, route=Route.objects.get(), max_attempts=2, reason="past the guard, on the host")
    target = target_specs(Route.objects.get())[0]
    read: list[Route] = []

    def again() -> None:
        read[:] = [Route.objects.get()]

    again()
    watched(main, lambda: breaker_force(actor=COMMAND, route=read[0], target=target, state="open", reason="errors"), again=again)
    with pytest.raises(ManagedByDocument):
        watched(main, lambda: route_update(actor=COMMAND, route=read[0], max_attempts=1), again=again)
    watched(
        main, lambda: route_update(actor=COMMAND, route=Route.objects.get(), max_attempts=3)
    )  # as the document says: nothing to hold up


def test_emergencies_pass_and_are_told_what_comes_next(path: Path, main: Organisation, admin: Client) -> None:
    flip = watched(main, lambda: flag_flip(actor=COMMAND, organisation=main, name="chat-stop", on=True, reason="out", acknowledge=True))
    assert [one.next_apply for one in flip.touched] == [
        "bulkhead.yaml says on: false, reason: none: the next apply puts that back, unless it is changed there."
    ]
    key = main.keys.get(name="app")  # type: ignore[attr-defined]
    revoked = watched(main, lambda: key_revoke(actor=COMMAND, key=key, reason="leaked"))
    assert revoked.touched[0].next_apply.startswith("bulkhead.yaml still lists app")
    assert "<b>bulkhead.yaml says off.</b> The next apply leaves it as you turn it here" in text(admin.get("/flags/chat-stop/off/"))
    assert not AuditEvent.objects.filter(action="config.override").exists()
    assert apply_again(path, dry_run=True)[:2] == ["+ key app", "~ flag chat-stop"] or "~ flag chat-stop" in apply_again(path, dry_run=True)


def test_a_document_manages_exactly_what_it_lists(path: Path, main: Organisation) -> None:
    assert ManagedThing.objects.filter(document="bulkhead.yaml").count() == ManagedThing.objects.count()
    events = AuditEvent.objects.filter(action="document.apply").count()
    assert apply_again(path) == [] and AuditEvent.objects.filter(action="document.apply").count() == events, "the same again is no news"
    path.write_text("layers: [{name: proxy}]\n", encoding="utf-8")
    apply_again(path, document="map")
    assert mark_of("layer").document == "map" and mark_of("route").document == "bulkhead.yaml"
    path.write_text("organisation: main\n", encoding="utf-8")
    apply_again(path)
    assert list(ManagedThing.objects.values_list("kind", flat=True)) == ["layer"] and Route.objects.exists()


def test_a_page_asks_once_for_all_marks_and_not_at_all_without(main: Organisation, admin: Client, tmp_path: Path) -> None:
    for number in range(3):
        flag_set(
            actor=COMMAND, organisation=main, name=f"f-{number}", kind="degrade", subject_kind="organisation", subject_id=main.pk,
            level="limited",
        )  # fmt: skip

    def asked() -> tuple[str, int]:
        admin.get("/flags/")
        with CaptureQueriesContext(connection) as queries:
            page = text(admin.get("/flags/"))
            return page, len(queries)

    plain, before = asked()
    assert "bulkhead.yaml" not in plain
    found = tmp_path / "bulkhead.yaml"
    found.write_text(yaml_text(document_of(main)), encoding="utf-8")
    apply_again(found)
    marked, after = asked()
    assert marked.count("bulkhead.yaml manages it") == 3 and after == before + 1 <= 12
