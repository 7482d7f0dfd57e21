"""What heartbeats say of targets, on pages and as facts: the worst of all proxies, each outage told once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.models import Event
from apps.contracts.identifiers import uuid7
from apps.contracts.reports import TargetEvent, TargetReport
from apps.providers.live import at_place, live_targets
from apps.providers.models import Provider
from apps.providers.tasks import targets_watch as task
from apps.providers.watch import targets_watch
from apps.publishing.models import ProxyProcess
from apps.publishing.selectors import proxy_details

T0 = datetime(2027, 1, 31, 12, 0, 0, tzinfo=UTC)


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def proxy(name: str, **detail: Any) -> ProxyProcess:
    now = timezone.now()
    return ProxyProcess.objects.create(boot_id=uuid7(), name=name, host="h", pid=1, registered_at=now, last_seen_at=now, detail=detail)


def say(row: ProxyProcess, **detail: Any) -> None:
    ProxyProcess.objects.filter(pk=row.pk).update(detail=detail)


def key(provider: Provider, model: str = "m") -> str:
    return f"{provider.organisation_id}/openai/default/{model}"


def is_open(where: str, since: datetime = T0, state: str = "open") -> list[dict[str, Any]]:
    return [TargetReport(key=where, state=state, since_ms=ms(since)).plain()]


def event(number: int, kind: str, where: str, at: datetime, status: int = 0) -> dict[str, Any]:
    return TargetEvent(number=number, kind=kind, key=where, at_ms=ms(at), status=status).plain()


def facts() -> list[tuple[str, datetime]]:
    return list(Event.objects.filter(subject_kind="provider").order_by("at", "id").values_list("kind", "at"))


def test_the_worst_of_all_proxies_counts(openai: Provider, organisation: Organisation) -> None:
    where = key(openai)
    for name, state, since in (("a", "half_open", T0), ("b", "open", T0 + timedelta(seconds=3)), ("c", "open", T0 + timedelta(seconds=1))):
        proxy(name, targets=is_open(where, since, state))
    proxy("d")
    (found,) = live_targets(organisation, proxy_details())
    assert (found.state, found.proxies, found.total, found.since) == ("open", 2, 4, T0)
    assert found.status.label == "Breaker open" and found.text == "on 2 of 4 proxies"
    assert at_place([found], provider="openai", model="m") is found is at_place([found], provider="openai", model="m", endpoint="default")
    assert at_place([found], provider="openai", model="m", endpoint="other") is None
    other = Organisation.objects.create(name="Other", slug="other-tests")
    assert live_targets(other, proxy_details()) == []


def test_closed_targets_say_why_they_are_here(openai: Provider, organisation: Organisation) -> None:
    resting = TargetReport(key=key(openai, "r"), state="closed", resting_until_ms=ms(T0)).plain()
    waiting = TargetReport(key=key(openai, "w"), state="closed", waiting=2).plain()
    strange = TargetReport(key=key(openai, "s"), state="melting").plain()
    proxy("a", targets=[resting, waiting, strange, "nonsense", {"key": "x"}])
    labels = {target.place.model: (target.status.label, target.text) for target in live_targets(organisation, proxy_details())}
    assert labels["r"] == ("Resting", "on 1 of 1 proxy") and labels["w"] == ("Queueing", "on 1 of 1 proxy, 2 requests wait")


def test_an_outage_is_one_opening_and_one_closing(openai: Provider) -> None:
    where = key(openai)
    first, second = proxy("a", targets=is_open(where), events=[event(1, "opened", where, T0)]), proxy("b")
    assert targets_watch() == 1 and targets_watch() == 0
    later = T0 + timedelta(seconds=1)
    say(second, targets=is_open(where, later), events=[event(1, "opened", where, later)])
    assert targets_watch() == 0
    ends = T0 + timedelta(seconds=20), T0 + timedelta(seconds=25)
    say(first, events=[event(1, "opened", where, T0), event(2, "closed", where, ends[0])])
    assert targets_watch() == 0  # the other one has it open
    say(second, events=[event(1, "opened", where, later), event(2, "closed", where, ends[1])])
    assert targets_watch() == 1 and task() == 0
    assert facts() == [("target.opened", T0), ("target.closed", ends[1])]
    data = Event.objects.earliest("at").data
    assert data["organisation"] == str(openai.organisation_id) and data["target"] == "openai/default/m"


def test_short_outages_between_two_looks_are_told(openai: Provider) -> None:
    where = key(openai)
    times = [T0 + timedelta(seconds=5 * step) for step in range(4)]
    proxy("a", events=[event(step + 1, ("opened", "closed")[step % 2], where, at) for step, at in enumerate(times)])
    assert targets_watch() == 4 and targets_watch() == 0
    assert [at for _, at in facts()] == times


def test_an_outage_ends_with_the_proxy_that_told_it(openai: Provider) -> None:
    where = key(openai)
    row = proxy("a", targets=is_open(where, timezone.now()))
    assert targets_watch() == 1
    ProxyProcess.objects.filter(pk=row.pk).update(gone_at=timezone.now())
    assert targets_watch() == 1 and [kind for kind, _ in facts()] == ["target.opened", "target.closed"]
    assert targets_watch() == 0


def test_a_refused_credential_is_told_once_in_a_while(openai: Provider) -> None:
    where = key(openai)
    again = [T0, T0 + timedelta(minutes=2), T0 + timedelta(minutes=11)]
    proxy("a", events=[event(number, "refused", where, at, 401) for number, at in enumerate(again, 1)])
    proxy("b", events=[event(1, "refused", where, T0 + timedelta(seconds=1), 401)])
    assert targets_watch() == 2 and targets_watch() == 0
    assert [at for _, at in facts()] == [again[0], again[2]] and Event.objects.earliest("at").data["status"] == 401


def test_what_nobody_knows_any_more_is_left_out(openai: Provider) -> None:
    strange = [f"{openai.organisation_id}/gone/default/m", "no-uuid/openai/default/m", "short"]
    proxy("a", targets=[row for where in strange for row in is_open(where)], events=[event(1, "melted", key(openai), T0)])
    assert targets_watch() == 0 and facts() == []


def test_the_providers_page_and_history_say_it(openai: Provider, signed: Client) -> None:
    where = key(openai)
    now = timezone.now()
    proxy("a", targets=is_open(where, now), events=[event(1, "opened", where, now), event(2, "refused", where, now, 401)])
    assert targets_watch() == 2
    text = signed.get(f"/providers/{openai.pk}/").content.decode()
    assert "Breaker open" in text and "on 1 of 1 proxy" in text
    history = (
        signed.get(f"/providers/{openai.pk}/?tab=history").content.decode()
        + signed.get(f"/providers/{openai.pk}/history/").content.decode()
    )
    assert "Breaker opened" in history and "HTTP 401 of openai/default/m" in history
