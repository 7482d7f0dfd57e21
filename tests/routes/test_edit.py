"""Creating and editing a route: targets reshaped without script, a diff before publishing, wrong person, second time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.test import Client

from apps.accounts.models import Organisation
from apps.audit.models import AuditEvent
from apps.publishing.models import Version
from apps.routes import selectors
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from tests.people import client_of, member


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "name": "support",
        "targets-place": ["sim-east", "sim-west"],
        "targets-model": ["sim-chat", "sim-chat"],
        "aliases": "help, assist",
        "owner": "",
        "deadlines_connect": "2",
        "deadlines_first_byte": "6",
        "deadlines_idle": "30",
        "deadlines_total": "120",
        "max_attempts": "3",
        "max_output_tokens": "4096",
        "unpriced": "refuse",
        **changes,
    }


def controls(response: Any) -> dict[str, str]:
    """The hidden fields by which the page follows its own flow."""
    return {name: response.context[name] for name in ("revision", "submission", "reviewed")}


def published(client: Client, url: str, data: dict[str, Any]) -> Any:
    """Open, review, publish; the answer to the last."""
    page = client.get(url)
    review = client.post(url, {**data, **controls(page)})
    assert review.status_code == 200 and review.context["review"] is not None, review.context["form"].errors
    return client.post(url, {**data, **controls(review), "publish": "1", "reason": "a reason"})


def test_create_shows_a_diff_then_publishes_once(signed_in: Callable[..., Client], demo: Organisation) -> None:
    client = signed_in()
    page = client.get("/routes/new/")
    review = client.post("/routes/new/", {**fields(), **controls(page)})
    assert not Route.objects.exists() and "Review what proxies will get" in review.content.decode()
    done = {**fields(), **controls(review), "publish": "1", "reason": "support needs one"}
    first, second = client.post("/routes/new/", done), client.post("/routes/new/", done)
    route = selectors.routes_of(demo).get()
    assert first["Location"] == second["Location"] == f"/routes/{route.pk}/?version={Version.objects.latest('number').number}"
    assert selectors.target_specs(route) == [TargetSpec("sim-east", "sim-chat"), TargetSpec("sim-west", "sim-chat")]
    assert selectors.aliases(route) == ["assist", "help"]
    event = AuditEvent.objects.get(action="route.create", subject_id=str(route.pk))
    assert event.actor_name == "admin-demo-tests@example.test" and event.reason == "support needs one"


def test_a_taken_name_is_never_overwritten(signed_in: Callable[..., Client], route: Route) -> None:
    client = signed_in()
    answer = client.post("/routes/new/", {**fields(name="demo-chat"), **controls(client.get("/routes/new/"))})
    assert answer.status_code == 400 and "exists: choose another name" in answer.content.decode()


def test_the_list_is_reshaped_without_being_judged(signed_in: Callable[..., Client], route: Route) -> None:
    client, url = signed_in(), f"/routes/{route.pk}/edit/"
    page = client.get(url)
    data = {**fields(**{"targets-model": ["sim-chat", ""]}), **controls(page)}

    def rows(answer: Any) -> list[tuple[str, str, str]]:
        assert answer.status_code == 200
        value = answer.context["form"]["targets"].value()
        return [(row["place"], row["model"], row.get("focus", "")) for row in value]

    east, west = ("sim-east", "sim-chat"), ("sim-west", "")
    assert rows(client.post(url, {**data, "reshape": "targets:down:0"})) == [(*west, ""), (*east, "up")]
    assert rows(client.post(url, {**data, "reshape": "targets:up:1"})) == [(*west, "down"), (*east, "")]
    assert rows(client.post(url, {**data, "reshape": "targets:remove:0"})) == [(*west, "remove")]
    assert rows(client.post(url, {**data, "reshape": "targets:add:0"})) == [(*east, ""), (*west, ""), ("", "", "add")]
    for nonsense in ("targets:up:0", "targets:down:9", "targets:remove:x", "targets:fly:1", "targets:up:-1"):
        assert [row[:2] for row in rows(client.post(url, {**data, "reshape": nonsense}))] == [east, west]
    assert "autofocus" in client.post(url, {**data, "reshape": "targets:up:1"}).content.decode()
    assert selectors.target_specs(Route.objects.get()) == [TargetSpec("sim-east", "sim-chat"), TargetSpec("sim-west", "sim-chat")]


def test_edit_publishes_what_was_reviewed(signed_in: Callable[..., Client], route: Route) -> None:
    client, url = signed_in(), f"/routes/{route.pk}/edit/"
    data = fields(**{"targets-place": ["sim-west", "sim-east"], "deadlines_total": "60.5", "aliases": "chat"})
    answer = published(client, url, data)
    assert answer.status_code == 302
    changed = Route.objects.get()
    assert changed.name == "demo-chat" and changed.total_ms == 60_500
    assert [spec.provider for spec in selectors.target_specs(changed)] == ["sim-west", "sim-east"]


def test_somebody_elses_change_in_between_is_shown_and_nothing_is_lost(signed_in: Callable[..., Client], route: Route, actor: Any) -> None:
    from apps.routes.services import route_update

    client, url = signed_in(), f"/routes/{route.pk}/edit/"
    page = client.get(url)
    route_update(actor=actor, route=route, max_attempts=7, reason="more patience")
    answer = client.post(url, {**fields(aliases="typed-by-me"), **controls(page)})
    text = answer.content.decode()
    assert answer.status_code == 409 and "It changed while you were editing" in text
    assert "more patience" in text and "typed-by-me" in text


def test_two_people_edit_one_route_and_the_second_sees_whose_change_and_what_differs(demo: Organisation, route: Route) -> None:
    url = f"/routes/{route.pk}/edit/"
    ada, ben = (client_of(member(demo, email=f"{name}@example.test")) for name in ("ada", "ben"))
    of_ada, of_ben = ada.get(url), ben.get(url)
    mine = fields(max_attempts="5", aliases="of-ada")
    review = ada.post(url, {**mine, **controls(of_ada)})
    # Ben reviews before Ada publishes, and publishes after her: what he reviewed is no longer the difference.
    theirs = fields(max_attempts="2", aliases="of-ben")
    reviewed_by_ben = ben.post(url, {**theirs, **controls(of_ben)})
    assert reviewed_by_ben.context["review"] is not None
    assert ada.post(url, {**mine, **controls(review), "publish": "1", "reason": "providers hiccup"}).status_code == 302
    late = ben.post(url, {**theirs, **controls(reviewed_by_ben), "publish": "1", "reason": "fewer is cheaper"})
    text = late.content.decode()
    assert late.status_code == 409 and "It changed while you were editing" in text
    assert "ada@example.test" in text and "providers hiccup" in text  # whose change, and why
    assert "<b>max attempts</b>: <del>3</del> → <ins>5</ins>" in text and "<ins>of-ada</ins>" in text  # and what differs
    assert "of-ben" in text and Route.objects.get(pk=route.pk).max_attempts == 5  # nothing typed is lost, nothing of Ada's overwritten
    again = ben.post(url, {**theirs, **controls(late)})
    shown = again.content.decode()
    assert again.context["review"] is not None and "of-ada" in shown and "of-ben" in shown  # the difference from what is there now
    assert ben.post(url, {**theirs, **controls(again), "publish": "1", "reason": "we spoke"}).status_code == 302
    saved = Route.objects.get(pk=route.pk)
    assert (saved.max_attempts, selectors.aliases(saved)) == (2, ["of-ben"])


def test_wrong_input_is_named_beside_its_field(signed_in: Callable[..., Client], route: Route) -> None:
    client, url = signed_in(), f"/routes/{route.pk}/edit/"
    for changes, field, words in (
        ({"targets-place": ["", ""], "targets-model": ["", ""]}, "targets", "at least one target"),
        ({"targets-model": ["sim-chat", ""]}, "targets", "Target 2 has no model"),
        ({"targets-place": ["sim-east", "nowhere"]}, "targets", "there is no provider"),
        ({"targets-place": ["sim-east", "sim-east"]}, "targets", "listed twice"),
        ({"deadlines_connect": "500"}, "deadlines_connect", "longer than the total"),
        ({"deadlines_idle": "x"}, "deadlines_idle", "number"),
        ({"max_attempts": "99"}, "max_attempts", "8"),
        ({"max_output_tokens": "0"}, "max_output_tokens", "1"),
        ({"aliases": "demo-chat"}, "aliases", "own name"),
        ({"aliases": "has blank"}, "aliases", "cannot name a route"),
        ({"unpriced": "maybe"}, "unpriced", "valid choice"),
    ):
        answer = client.post(url, {**fields(**changes), **controls(client.get(url))})
        errors = answer.context["form"].errors
        assert answer.status_code == 400 and words in " ".join(errors.get(field, [])), (changes, errors)
    long = client.post("/routes/new/", {**fields(name="x" * 300), **controls(client.get("/routes/new/"))})
    assert long.status_code == 400 and "120" in " ".join(long.context["form"].errors["name"])


def test_wrong_person(signed_in: Callable[..., Client], route: Route) -> None:
    viewer = signed_in("viewer")
    for url in ("/routes/new/", f"/routes/{route.pk}/edit/"):
        assert viewer.get(url).status_code == 403
        assert viewer.post(url, fields()).status_code == 403
        assert viewer.put(url).status_code in (403, 405)
    assert Route.objects.count() == 1
