"""What proxies tell of flags: counted once however often it is told, and audited once when the control plane is back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent, Event
from apps.contracts.identifiers import uuid7
from apps.flags.hearing import exposures_forget, proxies_hear
from apps.flags.models import Flag, FlagExposure, HostOverride
from apps.flags.services import flag_set
from apps.publishing.models import ProxyProcess

NOW = datetime(2026, 5, 4, 10, 30, 20, tzinfo=UTC)
MS = int(NOW.timestamp() * 1000)


@pytest.fixture
def flag(organisation: Organisation, actor: Actor) -> Flag:
    return flag_set(actor=actor, organisation=organisation, name="stop", kind="kill", subject_kind="feature", subject_id="search")


def proxy(name: str, **detail: Any) -> ProxyProcess:
    return ProxyProcess.objects.create(name=name, host="host-1", pid=1, registered_at=NOW, last_seen_at=NOW, detail=detail)


def says(one: ProxyProcess, **detail: Any) -> None:
    ProxyProcess.objects.filter(pk=one.pk).update(detail=detail)


def counted(flag: Flag) -> dict[tuple[str, int], int]:
    return {(row.value, row.minute.minute): row.count for row in FlagExposure.objects.filter(flag=flag)}


def test_what_came_on_top_is_counted_once_per_minute(flag: Flag) -> None:
    id = str(flag.pk)
    one, two = proxy("a", exposures=[[id, 5, 2]]), proxy("b", exposures=[[id, 1, 0], [str(uuid4()), 9, 9], ["x"], [id, -1, "2"]])
    assert proxies_hear(now=NOW) == (8, 0)
    assert proxies_hear(now=NOW) == (0, 0), "told again"
    says(one, exposures=[[id, 9, 2]])
    ProxyProcess.objects.filter(pk=two.pk).update(gone_at=NOW, detail={"exposures": [[id, 4, 0]]})
    assert proxies_hear(now=NOW + timedelta(minutes=1)) == (7, 0), "a proxy that is gone had its last words"
    assert counted(flag) == {("on", 30): 6, ("off", 30): 2, ("on", 31): 7}
    assert exposures_forget(now=NOW + timedelta(days=90, seconds=30)) == 2
    assert counted(flag) == {("on", 31): 7}


def override(organisation: Organisation, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(uuid7()), "by": "ada", "reason": "east burns", "made_ms": MS - 60_000, "until_ms": MS + 60_000,
        "organisation": str(organisation.pk), "kind": "kill", "subject": "route", "subject_id": "r", "subject_name": "chat",
    } | changes  # fmt: skip


def test_an_override_is_audited_once_and_so_is_its_end(organisation: Organisation) -> None:
    told = override(organisation)
    a, b = proxy("a", overrides=[told]), proxy("b", overrides=[told, {"id": "x"}, override(organisation, id="x")])
    assert proxies_hear(now=NOW) == (0, 1) and proxies_hear(now=NOW) == (0, 0)
    row = HostOverride.objects.get()
    assert (row.host, row.by, row.proxies, row.ended_at) == ("host-1", "ada", ["a", "b"], None)
    made = AuditEvent.objects.get(action="override.make", subject_id=str(row.pk))
    assert (made.actor_name, made.reason, made.after["does"]) == ("ada on host-1", "east burns", "kill route chat")
    assert Event.objects.get(kind="flag.override", subject_id=str(row.pk)).at == row.made_at
    says(a, overrides=[told | {"ended_ms": MS + 1_000}])
    assert proxies_hear(now=NOW) == (0, 0), "one of them has it in force still"
    says(b, overrides=[told | {"ended_ms": MS + 1_000}])
    assert proxies_hear(now=NOW) == (0, 1) and proxies_hear(now=NOW) == (0, 0)
    row.refresh_from_db()
    assert row.ended_at == NOW + timedelta(seconds=1)
    assert AuditEvent.objects.filter(action="override.end", subject_id=str(row.pk)).count() == 1


def test_an_override_of_a_host_that_is_gone_ends_at_its_time(organisation: Organisation) -> None:
    one = proxy("a", overrides=[override(organisation)])
    assert proxies_hear(now=NOW) == (0, 1)
    says(one)
    assert proxies_hear(now=NOW + timedelta(minutes=2)) == (0, 1)
    assert HostOverride.objects.get().ended_at == NOW + timedelta(minutes=1)


def test_what_names_no_organisation_of_ours_is_left_alone(organisation: Organisation) -> None:
    told = override(organisation)
    proxy("a", overrides=[told | {"organisation": str(uuid4())}, told | {"organisation": "o"}])
    assert proxies_hear(now=NOW) == (0, 0) and not HostOverride.objects.exists()
