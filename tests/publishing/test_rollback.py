"""Rolling back: an older content, as a new version; never keys, never credentials."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.accounts.rules import PermissionRefused, Role
from apps.accounts.services import membership_set, organisation_ensure, user_create
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.contracts.snapshot import CredentialFragment
from apps.publishing import state
from apps.publishing.errors import PublishError
from apps.publishing.models import Version
from apps.publishing.rollback import rollback
from apps.publishing.services import publish
from tests.publishing.rows import ACTOR, TableSection, key, provider, route, rows_delete, rows_write, sections
from tests.scale import examples

pytestmark = pytest.mark.usefixtures("rows")


def go(**fields: Any) -> Version | None:
    return publish(actor=ACTOR, reason="test", sections=fields.pop("sections", sections()), **fields)


def back(to_version: int, **fields: Any) -> Version | None:
    fields.setdefault("sections", sections())
    return rollback(actor=fields.pop("actor", ACTOR), to_version=to_version, reason=fields.pop("reason", "went wrong"), **fields)


def test_the_round_trip() -> None:
    rows_write("providers", provider())
    rows_write("routes", route(), route("r2", name="old"))
    go()
    rows_write("routes", route(model="gpt-y"), route("r3", name="new"))
    rows_delete("routes", "r2")
    go()
    first, second = state.state_at(1), state.state_at(2)
    version = back(1)
    assert version is not None
    assert (version.number, version.restores, version.reason) == (3, 1, "went wrong")
    assert {r: version.diff["routes"][r]["change"] for r in ("r1", "r2", "r3")} == {"r1": "changed", "r2": "added", "r3": "removed"}
    assert state.head_state().bodies == first.bodies
    assert AuditEvent.objects.get(action="config.rollback", seq=None).after["restores"] == 1
    assert Event.objects.filter(kind="config.rolled_back").count() == 1
    forward = back(2, reason="it was not that")
    assert forward is not None and forward.number == 4
    assert state.head_state().bodies == second.bodies
    assert back(2) is None


def test_keys_and_credentials_stay_as_they_are() -> None:
    rows_write("keys", key("k1"), key("k2"))
    rows_write("credentials", CredentialFragment(id="c1", sealed="old"))
    rows_write("providers", provider())
    go()
    rows_write("keys", key("k1", state="revoked"), key("k3"))
    rows_delete("keys", "k2")
    rows_write("credentials", CredentialFragment(id="c1", sealed="new"))
    rows_write("providers", provider(simulated=True))
    go()
    version = back(1)
    assert version is not None and list(version.counts) == ["providers"]
    head = state.head_state()
    assert head.fragments["keys"] == {"k1": key("k1", state="revoked"), "k3": key("k3")}
    assert head.fragments["credentials"]["c1"] == CredentialFragment(id="c1", sealed="new")


def test_unpublished_changes_are_undone_with_it() -> None:
    rows_write("providers", provider())
    go()
    rows_write("providers", provider(base_url="https://other.example/v1"))
    go()
    rows_write("providers", provider(base_url="https://third.example/v1"), provider("p2", name="unfinished"))
    assert back(1) is not None
    assert state.head_state().bodies == state.state_at(1).bodies
    assert go(full=True) is None


def test_objects_that_need_each_other_come_back_in_any_order() -> None:
    """A name that must become free first, a reference that must go first: whatever fails is tried again after the others."""
    routes = TableSection("routes")
    registered = sections([routes])
    rows_write("providers", provider())
    rows_write("routes", route("r1"), route("r2", name="other"))
    go(sections=registered)
    rows_write("routes", route("r1", model="a"), route("r2", name="other", model="b"))
    go(sections=registered)
    routes.stuck = {"r1"}
    seen: list[str] = []

    def restore(**fields: Any) -> None:
        seen.append(fields["object_id"])
        if fields["object_id"] == "r2":
            routes.stuck.clear()
        routes.restore(**fields)

    registered["routes"] = type(registered["routes"])(build=routes.build, restore=restore)
    assert back(1, sections=registered) is not None
    assert seen == ["r1", "r2", "r1"]
    assert state.head_state().bodies == state.state_at(1).bodies


def test_what_cannot_be_restored_is_named_and_nothing_changes() -> None:
    routes = TableSection("routes")
    registered = sections([routes])
    rows_write("providers", provider())
    rows_write("routes", route("r1"), route("r2", name="other"))
    go(sections=registered)
    rows_write("routes", route("r1", model="a"), route("r2", name="other", model="b"))
    go(sections=registered)
    routes.stuck = {"r1"}
    with pytest.raises(PublishError, match="routes chat cannot be restored: r1 is stuck") as refused, transaction.atomic():
        back(1, sections=registered)
    assert refused.value.object_id == "r1"
    assert Version.objects.count() == 2
    assert go(sections=registered, full=True) is None


def test_a_restore_that_does_not_bring_the_content_back_is_refused() -> None:
    registered = sections()
    rows_write("providers", provider())
    go(sections=registered)
    rows_write("providers", provider(simulated=True))
    go(sections=registered)
    registered["providers"] = type(registered["providers"])(build=registered["providers"].build, restore=lambda **fields: None)
    with pytest.raises(PublishError, match="providers p1 does not come back"), transaction.atomic():
        back(1, sections=registered)


def test_what_does_not_compile_with_today_s_credentials_is_refused() -> None:
    rows_write("credentials", CredentialFragment(id="c1", sealed="x"))
    endpoint = type(provider().endpoints[0])(name="eu", base_url="https://api.example.com/v1", credential="c1")
    with_credential = type(provider())(id="p1", name="openai", kind="openai", organisation="o1", endpoints=[endpoint])
    rows_write("providers", with_credential)
    rows_write("routes", route())
    go()
    rows_write("providers", provider())
    rows_delete("credentials", "c1")
    go()
    with pytest.raises(PublishError, match="credential does not exist"), transaction.atomic():
        back(1)
    assert state.head_state().number == 2


@pytest.mark.parametrize(
    ("version", "reason", "field"), [(7, "x", "to_version"), (0, "x", "to_version"), (-1, "x", "to_version"), (1, "  ", "reason")]
)
def test_bad_input(version: int, reason: str, field: str) -> None:
    rows_write("providers", provider())
    go()
    with pytest.raises(ServiceError) as refused, transaction.atomic():
        back(version, reason=reason)
    assert refused.value.field == field


def test_a_viewer_may_not() -> None:
    main = organisation_ensure(actor=ACTOR, slug="main", name="Main")
    viewer = user_create(actor=ACTOR, email="vic@example.com", password="long enough!")
    membership_set(actor=ACTOR, user=viewer, organisation=main, role=Role.VIEWER)
    with pytest.raises(PermissionRefused, match="role admin"):
        back(1, actor=Actor.of_user(viewer))


@pytest.mark.slow
@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(
        st.dictionaries(st.sampled_from(["r1", "r2", "r3", "k1"]), st.none() | st.integers(1, 3), min_size=1, max_size=3),
        min_size=1,
        max_size=5,
    ),
    choice=st.integers(0, 4),
)
def test_any_version_comes_back_exactly_and_keys_never_do(history: list[dict[str, int | None]], choice: int) -> None:
    with transaction.atomic():
        rows_write("providers", provider())
        go()
        for step in history:
            for object_id, value in step.items():
                section = "keys" if object_id == "k1" else "routes"
                if value is None:
                    rows_delete(section, object_id)
                elif section == "keys":
                    rows_write(section, key(object_id, feature=f"v{value}"))
                else:
                    rows_write(section, route(object_id, name=object_id, model=f"m{value}"))
            go()
        head = state.head_state()
        to_version = 1 + choice % head.number
        back(to_version)
        now, then = state.head_state(), state.state_at(to_version)
        assert now.bodies["routes"] == then.bodies["routes"]
        assert now.bodies["providers"] == then.bodies["providers"]
        assert now.bodies["keys"] == head.bodies["keys"]
        transaction.set_rollback(True)
