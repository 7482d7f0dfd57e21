"""A replica that proxies cannot reach, although its agent says that it is well: who is believed, and what is done about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.audit.models import Event
from apps.contracts.identifiers import uuid7
from apps.contracts.reports import DeploymentReport, OutReport
from apps.fleet.models import Deployment, Replica
from apps.fleet.reach import MOST_SECONDS, OUT_SECONDS, patience, unreached
from apps.fleet.reconciling import fleet_reconcile
from apps.fleet.rollout import UNREACHED
from apps.publishing.models import ProxyProcess
from tests.fleet.conftest import GB, FakeAgent, now_ms
from tests.fleet.test_control import live, promises_hold, settle

Agents = Callable[..., FakeAgent]
Deploy = Callable[..., Deployment]
CHAT, OTHER = ("o", "chat"), ("o", "other")
REPLICAS = ("a", "b", "c")


def report(out: dict[str, int] | None = None, *, answered: int = 0, asked: int = 1, name: str = "chat") -> DeploymentReport:
    return DeploymentReport("o", name, 0, 0, 0, asked, answered, [OutReport(*one) for one in (out or {}).items()])


OLDER = DeploymentReport("o", "chat", 0, 0, 0, 1)
"""Of a proxy that does not say whom it cannot reach."""


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({}, {}),
        ({"p": report(answered=9)}, {}),
        ({"p": report({"a": 5}, answered=9)}, {"a": 5}),
        ({"p": report({"a": 5}, answered=4)}, {}),  # nothing has answered it since: it is cut off itself
        ({"p": report({"a": 5}, answered=9), "q": report({"a": 7}, answered=9)}, {"a": 7}),
        ({"p": report({"a": 5}, answered=9), "q": report(answered=8)}, {}),  # it heard from the deployment since, and does not complain
        ({"p": report({"a": 5}, answered=9), "q": report(answered=4)}, {"a": 5}),  # it has heard nothing since
        ({"p": report({"a": 5}, answered=9), "q": report(asked=0)}, {"a": 5}),
        ({"p": report({"a": 5}, answered=9), "q": report({"a": 6}, answered=3)}, {"a": 5}),  # q is cut off itself: nothing it says counts
        ({"p": report({"a": 5}, answered=9), "q": OLDER}, {}),
        ({"p": report({"a": 5, "b": 8, "c": 9}, answered=9)}, {"a": 5, "b": 8}),
    ],
)
def test_who_is_believed(told: dict[str, DeploymentReport], found: dict[str, int]) -> None:
    assert unreached({CHAT: told} if told else {}) == found


def test_an_answer_of_another_deployment_tells_that_the_proxys_own_network_is_well() -> None:
    alone = {CHAT: {"p": report({"a": 5}, answered=2)}}
    assert unreached(alone) == {}
    assert unreached({**alone, OTHER: {"p": report(answered=6, name="other")}}) == {"a": 5}
    assert unreached({**alone, OTHER: {"q": report(answered=6, name="other")}}) == {}, "that was another proxy"


TIMES = st.integers(1, 6)
REPORTS = st.builds(
    lambda out, answered, name: report(out, answered=answered, name=name),
    st.dictionaries(st.sampled_from(REPLICAS), TIMES, max_size=3),
    st.integers(0, 7),
    st.just("chat"),
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from("pqrs"), REPORTS, max_size=4), st.sampled_from("pqrs"), REPORTS)
def test_who_is_found_is_named_by_whoever_reaches_others_and_missed_by_nobody(
    told: dict[str, DeploymentReport], boot: str, more: DeploymentReport
) -> None:
    told.pop(boot, None)
    found = unreached({CHAT: told})
    for replica, since in found.items():
        naming = {proxy: one.since_ms for proxy, row in told.items() for one in row.out or () if one.replica == replica}
        assert any(at == since and told[proxy].answered_ms > at for proxy, at in naming.items())
        assert all(row.answered_ms <= since for proxy, row in told.items() if proxy not in naming)
    after = unreached({CHAT: {**told, boot: more}})
    named = {one.replica for one in more.out or ()}
    assert all(replica in named for replica in after.keys() - found.keys()), "one proxy more adds only what it names"
    silent = unreached({CHAT: {**told, boot: report(answered=0)}})
    assert silent == found, "and who has heard nothing changes nothing"


def test_patience_doubles_with_each_round_of_substitutes() -> None:
    assert [patience(replaced, 3) for replaced in (0, 2, 3, 6)] == [OUT_SECONDS, OUT_SECONDS, 2 * OUT_SECONDS, 4 * OUT_SECONDS]
    assert patience(1, 1) == 2 * OUT_SECONDS and patience(1, 0) == 2 * OUT_SECONDS
    assert patience(10**9, 1) == MOST_SECONDS


# --- what is done ---------------------------------------------------------------------------------------------------------


def says(deployment: Deployment, out: dict[Replica, float], *, boot: Any = None, silent: bool = False, answered: bool = True) -> Any:
    """A proxy's heartbeat. out: replica -> for how many seconds it has been out of rotation."""
    told = DeploymentReport(
        str(deployment.organisation_id), deployment.name, 0, 0, 0, 9, now_ms() if answered else 0,
        [OutReport(str(row.pk), now_ms() - round(seconds * 1000)) for row, seconds in out.items()],
    )  # fmt: skip
    boot, now = boot or uuid7(), timezone.now()
    ProxyProcess.objects.update_or_create(
        boot_id=boot,
        defaults={
            "name": "proxy-1", "host": "h", "pid": 1, "public_url": "http://p", "admin_url": "http://a", "state": "ready", "version": 1,
            "detail": {"deployments": [told.plain()]}, "registered_at": now, "last_seen_at": now - timedelta(seconds=60 * silent),
        },
    )  # fmt: skip
    return boot


def substitutes() -> list[str]:
    rows = Event.objects.filter(kind="fleet.deployment", data__what="substitute").order_by("at")
    return [row.data["why"] for row in rows]


@pytest.fixture
def pair(agent: Agents, deploy: Deploy) -> tuple[Deployment, list[FakeAgent]]:
    """Two replicas on two of three workers."""
    agents = [agent(name, gpus=1) for name in ("w1", "w2", "w3")]
    for one in agents:
        one.beat()
    deployment = deploy(gpus=1, memory=GB, least=2, most=2)
    settle(*agents)
    return deployment, agents


def test_what_proxies_cannot_reach_is_replaced_elsewhere_and_then_goes(pair: tuple[Deployment, list[FakeAgent]]) -> None:
    deployment, agents = pair
    first, second = live()
    boot = says(deployment, {first: 3.0})
    fleet_reconcile()
    assert live() == [first, second] and not substitutes(), "a moment only"
    says(deployment, {first: 6.0}, boot=boot)
    assert fleet_reconcile().placed == 1
    first, second, third = live()
    assert first.unreached_since is not None and second.unreached_since is None
    assert third.worker.name == "w3" and [row.want for row in live()] == ["serve"] * 3
    [why] = substitutes()
    assert (
        why.startswith(f"proxies have not reached replica {first.ordinal} on {first.worker.name} since ") and "says that it is ready" in why
    )
    assert fleet_reconcile().placed == 0, "one is on its way"
    for one in agents:
        one.obey()
    fleet_reconcile()
    first.refresh_from_db()
    assert first.want == "drain" and first.leaves == UNREACHED and [row.want for row in live()[1:]] == ["serve", "serve"]
    settle(*agents)
    assert {row.worker.name for row in live()} == {second.worker.name, "w3"} and len(substitutes()) == 1
    promises_hold()


def test_whoever_is_reached_again_stays_and_the_substitute_goes(pair: tuple[Deployment, list[FakeAgent]]) -> None:
    deployment, agents = pair
    first, second = live()
    boot = says(deployment, {first: 6.0})
    fleet_reconcile()
    says(deployment, {}, boot=boot)
    fleet_reconcile()
    assert live()[0].unreached_since is None
    settle(*agents)
    assert live() == [first, second]
    promises_hold()


@pytest.mark.parametrize(
    "case", ["no proxy is heard", "another proxy reaches it", "the proxy reaches nobody", "its worker says that it failed"]
)
def test_nobody_is_replaced_where_the_word_does_not_count(pair: tuple[Deployment, list[FakeAgent]], case: str) -> None:
    deployment, _ = pair
    first, _ = live()
    says(deployment, {first: 60.0}, silent=case == "no proxy is heard", answered=case != "the proxy reaches nobody")
    if case == "another proxy reaches it":
        says(deployment, {})
    if case == "its worker says that it failed":
        Replica.objects.filter(pk=first.pk).update(state="starting")
    fleet_reconcile()
    assert len(live()) == 2 and live()[0].unreached_since is None and not substitutes()


def test_without_a_place_nothing_happens_and_nobody_is_asked_for_machines(agent: Agents, deploy: Deploy) -> None:
    agents = [agent(name, gpus=1) for name in ("w1", "w2")]
    for one in agents:
        one.beat()
    deployment = deploy(gpus=1, memory=GB, least=2, most=2)
    settle(*agents)
    first, second = live()
    boot = says(deployment, {first: 30.0})
    for _ in range(3):
        run = fleet_reconcile()
        assert run.placed == run.drained == 0 and run.unplaced == []
    deployment.refresh_from_db()
    assert deployment.unplaced == {} and not substitutes() and [row.want for row in live()] == ["serve", "serve"]
    says(deployment, {}, boot=boot)
    fleet_reconcile()
    assert live() == [first, second] and live()[0].unreached_since is None


def test_nothing_is_placed_where_proxies_reach_nobody_and_pages_say_so(
    pair: tuple[Deployment, list[FakeAgent]], deploy: Deploy, signed_in: Callable[..., Client]
) -> None:
    deployment, agents = pair
    first, _ = live()
    says(deployment, {first: 30.0})
    deploy("small", memory=GB, least=3, most=3)
    fleet_reconcile()
    small = Replica.objects.filter(deployment__name="small", ended_at=None)
    assert small.count() == 3 and first.worker_id not in {row.worker_id for row in small}
    kept = [one for one in small[0].placement["judged"] if one["reasons"]]
    assert [(one["name"], one["reasons"], one["kinds"]) for one in kept] == [
        (first.worker.name, ["proxies cannot reach what runs on it"], ["Cut off from proxies"])
    ]
    client = signed_in()
    page = client.get(f"/deployments/{deployment.pk}/").content.decode()
    assert (
        "Not reached" in page and "1 not reached" in page and "proxies cannot reach it, although its worker says that it is ready" in page
    )
    assert "1 <small>of 2 wanted" in page and "A substitute was ordered" in page
    assert "Cut off from proxies" in client.get(f"/deployments/{deployment.pk}/placement/").content.decode()
    listed: Any = client.get("/deployments/replicas/?state=unreached&format=csv")
    assert b"".join(listed.streaming_content).decode().count(deployment.name) == 1
    for one in agents:
        one.obey()
    fleet_reconcile()
    assert "Draining" in client.get(f"/replicas/{first.pk}/log/").content.decode(), "it goes: that it is not reached is no news any more"


def test_a_network_that_reaches_nothing_new_does_not_start_and_drain_for_ever(pair: tuple[Deployment, list[FakeAgent]]) -> None:
    """Every replica but one is unreachable wherever it stands, as soon as it is ready."""
    deployment, agents = pair
    keep = live()[1]
    boot, ordered = says(deployment, {}), 0
    for _ in range(12):
        cut = {row: 6.0 for row in live() if row.pk != keep.pk and row.state == "ready" and row.want == "serve"}
        says(deployment, cut, boot=boot)
        fleet_reconcile()
        for one in agents:
            one.obey()
        ordered = len(substitutes())
    assert 1 <= ordered <= 2, "after as many as are wanted each waits longer than the one before"
    promises_hold()
