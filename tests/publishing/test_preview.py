"""A preview shows what would be published, and leaves nothing behind: no row, no version, no mark, no audit event."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.keys.services import key_create, key_update
from apps.publishing import state
from apps.publishing.errors import PublishError
from apps.publishing.models import FragmentRow, TouchedFragment, Version
from apps.publishing.preview import FieldChange, Preview, change_preview, change_publish
from apps.publishing.rollback import rollback
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure, route_update

ACTOR = Actor.command("test")


def everything() -> list[Any]:
    return [
        list(model.objects.order_by("pk").values_list("pk", flat=True))
        for model in (Route, Version, FragmentRow, TouchedFragment, AuditEvent, Event)
    ]


def create(organisation: Organisation, **changes: Any) -> Route:
    facts: dict[str, Any] = {"name": "new", "targets": [TargetSpec("sim", "m")], **changes}
    return route_ensure(actor=ACTOR, organisation=organisation, **facts)


def test_it_shows_everything_and_changes_nothing(main: Organisation) -> None:
    before = everything()
    preview = change_preview(actor=ACTOR, change=lambda: create(main))
    assert everything() == before
    assert isinstance(preview, Preview) and preview.base_version == 1 and preview.result.name == "new"
    changes = {change.section: change for change in preview.changes}
    assert set(changes) == {"prices", "routes"} or set(changes) == {"routes"}
    assert (changes["routes"].kind, changes["routes"].name) == ("added", "new")
    assert FieldChange("targets[0].model", None, "m") in changes["routes"].fields
    assert {record.action for record in preview.records} >= {"route.create"}


def test_a_changed_field_has_both_values(main: Organisation) -> None:
    route, version = change_publish(actor=ACTOR, reason="first", change=lambda: create(main))
    assert version is not None and (version.number, version.reason) == (2, "first")
    preview = change_preview(actor=ACTOR, change=lambda: route_update(actor=ACTOR, route=route, max_attempts=7))
    (change,) = preview.changes
    assert (change.kind, change.object_id, change.fields) == ("changed", str(route.pk), (FieldChange("max_attempts", 3, 7),))
    assert preview.base_version == 2
    route.refresh_from_db()
    assert route.max_attempts == 3


def test_nothing_to_change_is_empty(main: Organisation) -> None:
    route, _ = change_publish(actor=ACTOR, reason="", change=lambda: create(main))
    preview = change_preview(actor=ACTOR, change=lambda: route_update(actor=ACTOR, route=route))
    assert preview.empty and preview.base_version == 2
    assert change_publish(actor=ACTOR, reason="", change=lambda: route_update(actor=ACTOR, route=route))[1] is None


def test_what_others_left_unpublished_is_shown_too(main: Organisation) -> None:
    create(main, name="left")
    preview = change_preview(actor=ACTOR, change=lambda: create(main))
    assert {change.name for change in preview.changes if change.section == "routes"} == {"left", "new"}
    assert TouchedFragment.objects.exists(), "still to be published"


def test_refusals_come_out_as_they_are_and_leave_nothing(main: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything()
    with pytest.raises(ServiceError, match="no provider") as refused:
        change_preview(actor=ACTOR, change=lambda: create(main, targets=[TargetSpec("nobody", "m")]))
    assert refused.value.field == "targets[0].provider"

    def does_not_compile(*args: Any, **kwargs: Any) -> Any:
        from apps.proxy.compiler import CompileError

        raise CompileError("routes", "x", "targets", "cannot be compiled")

    monkeypatch.setattr("apps.proxy.compiler.compile_config", does_not_compile)
    with pytest.raises(PublishError, match="cannot be compiled") as broken:
        change_preview(actor=ACTOR, change=lambda: create(main))
    assert broken.value.section == "routes"
    assert everything() == before


def test_publishing_after_a_preview_starts_from_the_published_state(main: Organisation) -> None:
    change_preview(actor=ACTOR, change=lambda: create(main))
    assert state._cached.number == 1 and state._cached.compiled is not None, "what the preview compiled stays of use"
    _, version = change_publish(actor=ACTOR, reason="", change=lambda: create(main, name="other"))
    assert version is not None and set(version.diff["routes"][next(iter(version.diff["routes"]))]) == {"name", "change", "fields"}
    assert {entry["name"] for entry in version.diff["routes"].values()} == {"other"}


def test_a_rollback_can_be_previewed(main: Organisation) -> None:
    change_publish(actor=ACTOR, reason="", change=lambda: create(main))
    change_publish(actor=ACTOR, reason="", change=lambda: create(main, name="later"))
    before = everything()
    preview = change_preview(actor=ACTOR, change=lambda: rollback(actor=ACTOR, to_version=1, reason="why"))
    assert everything() == before
    assert {(change.name, change.kind) for change in preview.changes if change.section == "routes"} == {
        ("new", "removed"),
        ("later", "removed"),
    }
    assert preview.base_version == 3


def test_a_change_that_proxies_do_not_see_is_shown_from_the_audit(main: Organisation) -> None:
    (key, _), _ = change_publish(actor=ACTOR, reason="", change=lambda: key_create(actor=ACTOR, organisation=main, name="k"))
    preview = change_preview(actor=ACTOR, change=lambda: key_update(actor=ACTOR, key=key, source="file:x"))
    assert preview.changes == () and not preview.empty
    assert [(record.action, record.fields) for record in preview.records] == [("key.update", (FieldChange("source", "", "file:x"),))]
