"""Publishing: what is touched is built, what differs is stored, what does not compile is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from apps.audit.models import AuditEvent, Event
from apps.contracts.snapshot import CredentialFragment, Fragment, decode_fragment
from apps.proxy.compiler import CompileError
from apps.publishing import registry, state
from apps.publishing.errors import PublishError
from apps.publishing.models import FragmentRow, TouchedFragment, Version
from apps.publishing.registry import Section, SectionError
from apps.publishing.selectors import head_number, unpublished_count, version_diff, versions
from apps.publishing.services import publish, section_touch
from tests.publishing.rows import ACTOR, TableSection, key, provider, route, rows_delete, rows_write, sections

pytestmark = pytest.mark.usefixtures("rows")


def go(**fields: Any) -> Version | None:
    fields.setdefault("sections", sections())
    return publish(actor=ACTOR, reason=fields.pop("reason", "test"), **fields)


def write_and_go(section: str, *fragments: Fragment, **fields: Any) -> Version | None:
    """A change and its publish in one transaction, as services and ``apply`` do it."""
    with transaction.atomic():
        rows_write(section, *fragments)
        return go(**fields)


def everything() -> tuple[int, int, int, int, int]:
    return (
        Version.objects.count(),
        FragmentRow.objects.count(),
        TouchedFragment.objects.count(),
        Event.objects.filter(kind__startswith="config.").count(),
        AuditEvent.objects.filter(action__startswith="config.", seq=None).count(),
    )


def test_a_change_becomes_a_version_with_author_reason_and_diff() -> None:
    rows_write("providers", provider())
    rows_write("routes", route())
    assert unpublished_count() == 2
    version = go(reason="first")
    assert version is not None
    assert (version.number, version.actor_name, version.reason) == (1, "test", "first")
    assert version.manifest == {"providers": 1, "routes": 1}
    assert version.counts == {"providers": {"added": 1, "changed": 0, "removed": 0}, "routes": {"added": 1, "changed": 0, "removed": 0}}
    assert version.diff["routes"]["r1"]["name"] == "chat"
    assert version.diff["routes"]["r1"]["fields"]["targets[0].provider"] == [None, "openai"]
    assert unpublished_count() == 0

    rows_write("routes", route(model="gpt-y"))
    second = go(reason="newer model")
    assert second is not None
    assert second.manifest == {"providers": 1, "routes": 2}
    assert second.diff == {"routes": {"r1": {"name": "chat", "change": "changed", "fields": {"targets[0].model": ["gpt-x", "gpt-y"]}}}}
    assert list(FragmentRow.objects.filter(version=2).values_list("section", "object_id")) == [("routes", "r1")]
    assert [version.number for version in versions()] == [2, 1]

    event = AuditEvent.objects.get(action="config.publish", config_version=2, seq=None)
    assert (event.reason, event.subject_name) == ("newer model", "v2")
    fact = Event.objects.filter(kind="config.published").latest("at")
    assert fact.data["version"] == 2


def test_nothing_touched_or_nothing_different_is_no_version() -> None:
    assert go() is None
    rows_write("providers", provider())
    assert go() is not None
    section_touch(section="providers", ids=["p1"])
    section_touch(section="routes", ids=["never-existed"])
    assert go() is None
    assert (head_number(), unpublished_count()) == (1, 0)


def test_only_touched_objects_are_built() -> None:
    table = TableSection("keys")
    registered = sections([table])
    rows_write("keys", *(key(f"k{n}") for n in range(20)))
    go(sections=registered)
    rows_write("keys", key("k3", feature="search"))
    go(sections=registered)
    assert table.asked[-1] == {"k3"}


def test_a_removed_object_becomes_a_tombstone() -> None:
    rows_write("keys", key("k1"), key("k2"))
    go()
    rows_delete("keys", "k1")
    version = go()
    assert version is not None and version.diff["keys"]["k1"]["change"] == "removed"
    assert FragmentRow.objects.get(object_id="k1", version=2).body is None
    assert set(state.head_state().bodies["keys"]) == {"k2"}
    rows_write("keys", key("k1"))
    again = go()
    assert again is not None and again.diff["keys"]["k1"]["change"] == "added"


def test_what_does_not_compile_is_refused_and_leaves_nothing_behind() -> None:
    rows_write("providers", provider())
    go()
    before = everything()
    with pytest.raises(PublishError, match=r"Nothing was published\. routes chat: targets\[0\]:") as refused:
        write_and_go("routes", route(provider="gone"))
    assert (refused.value.section, refused.value.object_id, refused.value.field) == ("routes", "r1", "targets[0]")
    assert everything() == before
    assert go() is None


def test_a_change_that_breaks_another_object_is_refused() -> None:
    rows_write("providers", provider())
    rows_write("routes", route())
    go()
    with pytest.raises(PublishError, match="routes chat"):
        write_and_go("providers", provider(name="renamed"))
    rows_write("routes", route(model="gpt-y"))
    version = go()
    assert version is not None and list(version.counts) == ["routes"]


def test_the_marks_of_a_refused_publish_stay() -> None:
    rows_write("routes", route(provider="gone"))
    with pytest.raises(PublishError), transaction.atomic():
        go()
    assert unpublished_count() == 1
    rows_write("providers", provider(name="gone"))
    version = go()
    assert version is not None and set(version.counts) == {"routes", "providers"}


def test_the_compiler_gets_the_complete_config_as_proxies_will_read_it() -> None:
    seen: list[tuple[int, dict[str, dict[str, Fragment]], Any, Any]] = []

    def compiler(fragments: Any, *, version: int, previous: Any = None, changed: Any = None) -> str:
        seen.append((version, {name: dict(objects) for name, objects in fragments.items()}, previous, changed))
        return f"runtime {version}"

    rows_write("providers", provider())
    go(compiler=compiler)
    rows_write("keys", key("k1"))
    go(compiler=compiler)
    assert [version for version, *_ in seen] == [1, 2]
    assert seen[0][2:] == (None, None)
    assert (seen[1][2], seen[1][3]) == ("runtime 1", {"keys": frozenset({"k1"})})
    assert seen[1][1]["providers"] == {"p1": provider()} and seen[1][1]["keys"] == {"k1": key("k1")}


def test_ids_of_a_refused_change_do_not_stay_in_the_compiler_s_view() -> None:
    seen: list[Any] = []

    def compiler(fragments: Any, *, version: int, previous: Any = None, changed: Any = None) -> str:
        seen.append(changed)
        if "bad" in fragments["keys"]:
            raise CompileError("keys", "bad", "digests", "no")
        return "runtime"

    rows_write("keys", key("k1"))
    go(compiler=compiler)
    with pytest.raises(PublishError):
        write_and_go("keys", key("bad"), compiler=compiler)
    rows_write("keys", key("k2"))
    go(compiler=compiler)
    assert seen == [None, {"keys": frozenset({"bad"})}, {"keys": frozenset({"k2"})}]


def test_a_fragment_of_the_wrong_type_is_refused_before_it_is_compiled() -> None:
    broken = sections()
    broken["keys"] = Section(build=lambda ids: {"k1": key("k1", expires_at_ms="soon")})
    section_touch(section="keys", ids=["k1"])
    with pytest.raises(PublishError, match=r"keys k1.*expires_at_ms"), transaction.atomic():
        go(sections=broken)


def test_a_builder_that_mixes_up_ids_is_an_error() -> None:
    broken = sections()
    broken["keys"] = Section(build=lambda ids: {"k1": key("k2")})
    section_touch(section="keys", ids=["k1"])
    with pytest.raises(SectionError, match="carries id 'k2'"), transaction.atomic():
        go(sections=broken)


def test_full_repairs_a_store_that_drifted() -> None:
    rows_write("providers", provider())
    rows_write("keys", key("k1"), key("k2"))
    go()
    rows_write("keys", key("k1", feature="untouched"), touch=False)
    rows_delete("keys", "k2", touch=False)
    FragmentRow.objects.filter(object_id="p1").update(body=b"{not json")
    state.remember(state.ConfigState())
    rows_write("keys", key("k3"))
    with pytest.raises(PublishError, match="publish --full"), transaction.atomic():
        go()
    version = go(full=True)
    assert version is not None
    assert version.counts == {"providers": {"added": 0, "changed": 1, "removed": 0}, "keys": {"added": 1, "changed": 1, "removed": 1}}
    head = state.head_state()
    assert set(head.bodies["keys"]) == {"k1", "k3"} and head.fragments["providers"]["p1"] == provider()
    assert go(full=True) is None


def test_a_cache_of_another_lineage_is_not_believed() -> None:
    """A transaction that was rolled back, or a restored database, gives a number a second time."""
    rows_write("keys", key("k1"))
    go()
    with transaction.atomic():
        rows_write("keys", key("k2", feature="never"))
        go()
        assert state.head_state().number == 2
        transaction.set_rollback(True)
    rows_write("keys", key("k3"))
    version = go()
    assert version is not None and version.number == 2
    assert set(state.head_state().bodies["keys"]) == {"k1", "k3"}


def test_another_process_s_versions_are_taken_over_by_delta() -> None:
    rows_write("keys", key("k1"), key("k2"))
    go()
    mine = state.head_state()
    rows_write("keys", key("k2", feature="new"), key("k3"))
    rows_delete("keys", "k1")
    go()
    state.remember(mine)
    cold = state.state_at(2)
    warm = state.head_state()
    assert warm.bodies == cold.bodies and warm.fragments == cold.fragments and warm.stale["keys"] >= {"k1", "k2", "k3"}


def test_secrets_never_show_in_a_diff() -> None:
    rows_write("credentials", CredentialFragment(id="c1", sealed="first-sealed-secret"))
    rows_write("keys", key("k1", digest="ab" * 32))
    go()
    rows_write("credentials", CredentialFragment(id="c1", sealed="other-sealed-secret"))
    rows_write("keys", key("k1", digest="cd" * 32))
    version = go()
    assert version is not None
    assert version.diff["credentials"]["c1"] == {"name": "c1", "change": "changed", "fields": {}}
    assert version.diff["keys"]["k1"]["fields"] == {"digests": ["(hidden)", "(hidden)"]}
    for text in (
        repr(version_diff(number=2, base=0)),
        *(repr((event.before, event.after)) for event in AuditEvent.objects.filter(seq=None)),
    ):
        assert "sealed-secret" not in text and "abab" not in text and "cdcd" not in text


def test_a_diff_between_any_two_versions() -> None:
    rows_write("keys", key("k1"))
    go()
    rows_write("keys", key("k1", feature="a"))
    go()
    rows_write("keys", key("k1", feature="b"), key("k2"))
    go()
    assert version_diff(number=3)["keys"]["k1"]["fields"] == {"feature": ["a", "b"]}
    assert version_diff(number=3, base=1)["keys"]["k1"]["fields"] == {"feature": ["", "b"]}
    assert version_diff(number=1, base=3)["keys"]["k2"]["change"] == "removed"


def test_an_unknown_section_cannot_be_touched() -> None:
    with pytest.raises(ValueError, match="unknown section"):
        section_touch(section="route", ids=["1"])


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = sections()
    monkeypatch.setattr("apps.publishing.services.registered_sections", lambda: fakes)
    monkeypatch.setattr("apps.publishing.rollback.registered_sections", lambda: fakes)


@pytest.mark.usefixtures("registered")
def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("versions")
    assert "No version" in capsys.readouterr().out
    call_command("publish")
    assert "Nothing differs" in capsys.readouterr().out
    rows_write("keys", key("k1"), key("k2"))
    call_command("publish", reason="two keys")
    assert "Published v1: keys 2 added" in capsys.readouterr().out
    rows_write("providers", provider())
    call_command("publish", full=True)
    call_command("rollback", "1", reason="back")
    call_command("rollback", "1", reason="back")
    assert "Nothing differs from v1." in capsys.readouterr().out
    call_command("versions")
    listing = capsys.readouterr().out
    assert "v3 (content of v1)" in listing and "two keys" in listing and "Proxies: v3 · 0/0" in listing
    with pytest.raises(CommandError, match="no version 9"):
        call_command("rollback", "9", reason="back")
    rows_write("routes", route(provider="gone"))
    with pytest.raises(CommandError, match="Nothing was published"), transaction.atomic():
        call_command("publish")


def test_the_registry_refuses_what_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import controlplane.sections

    good = dict(controlplane.sections.SECTIONS)
    for change, message in (
        ({"keys": "apps.keys.nowhere.keys"}, "cannot be imported"),
        ({"keys": "apps.publishing.services.publish"}, "is not a Section"),
        ({"keys": None}, "names no builder"),
        ({"routes": f"{__name__}.without_restore"}, "no restore"),
    ):
        paths = {name: path for name, path in {**good, **change}.items() if path is not None}
        monkeypatch.setattr(controlplane.sections, "SECTIONS", paths)
        registry.sections.cache_clear()
        with pytest.raises(SectionError, match=message):
            registry.sections()
    registry.sections.cache_clear()


without_restore = Section(build=lambda ids: {})


def test_stored_bodies_are_the_wire_form() -> None:
    rows_write("keys", key("k1"))
    go()
    with connection.cursor() as cursor:
        cursor.execute("SELECT version, section, object_id, body FROM proxy_api.config_delta(0)")
        ((version, section, object_id, body),) = cursor.fetchall()
    assert (version, section, object_id, decode_fragment(section, bytes(body))) == (1, "keys", "k1", key("k1"))
