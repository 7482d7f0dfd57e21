"""Break, switch, undo: what each does to the real simulator and the real config, who may, and what a second time does."""

from __future__ import annotations

import httpx
import pytest
from django.conf import settings
from django.test import Client

from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.publishing.models import Version
from apps.routes.models import RouteSwitch
from controlplane.demo import simulators
from controlplane.demo.seed import Seeded
from controlplane.demo.state import DemoState, demo_state
from controlplane.demo.tour import Facts, tour

CALL = {"model": "sim-chat", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}


def east_answers() -> int:
    return httpx.post(f"{simulators.simulator_url('sim-east')}/v1/chat/completions", json=CALL, timeout=20).status_code


def test_only_by_post_signed_in_and_by_an_admin(admin: Client, viewer: Client) -> None:
    before = demo_state(settings.DATA_DIR)
    for name in ("break", "switch", "undo", "traffic"):
        assert admin.get(f"/demo/{name}/").status_code == 405
        stranger = Client().post(f"/demo/{name}/")
        assert stranger.status_code in (302, 401, 403) or "password" in stranger.content.decode()
        assert viewer.post(f"/demo/{name}/").status_code == 302
        assert demo_state(settings.DATA_DIR) == before and not RouteSwitch.objects.exists(), name
        assert east_answers() == 200
        assert "role admin" in viewer.get("/").content.decode(), name  # the toast says what it takes


def test_breaking_fails_every_request_and_a_second_time_changes_nothing(admin: Client) -> None:
    assert east_answers() == 200
    admin.post("/demo/break/")
    assert east_answers() == 503
    state = demo_state(settings.DATA_DIR)
    assert state.broken_at > 0 and Event.objects.filter(kind="demo.broken").count() == 1
    admin.post("/demo/break/")
    assert demo_state(settings.DATA_DIR) == state
    assert AuditEvent.objects.filter(action="demo.break").count() == 1


def test_switching_publishes_once_and_undo_takes_both_back(admin: Client) -> None:
    admin.post("/demo/break/")
    number = Version.objects.order_by("-number").values_list("number", flat=True)[0]
    admin.post("/demo/switch/")
    switch = RouteSwitch.objects.get(route__name="demo-chat")
    assert switch.provider.name == "sim-west" and switch.until is not None
    admin.post("/demo/switch/")
    assert Version.objects.order_by("-number").values_list("number", flat=True)[0] == number + 1
    admin.post("/demo/undo/")
    assert not RouteSwitch.objects.exists() and east_answers() in (200, 503)
    assert not simulators.simulator_broken(simulators.simulator_scenario("sim-east"))
    admin.post("/demo/undo/")
    assert Version.objects.order_by("-number").values_list("number", flat=True)[0] == number + 2
    assert Event.objects.filter(kind="demo.mended").count() == 1


def test_a_simulator_that_is_away_is_said_and_nothing_changes(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKHEAD_SIM_EAST_URL", "http://127.0.0.1:1")
    admin.post("/demo/break/")
    assert demo_state(settings.DATA_DIR) == DemoState()
    assert "does not answer" in admin.get("/").content.decode()
    assert "simulator does not answer" in admin.get("/demo/panel/?org=demo").content.decode()


@pytest.mark.parametrize("url", ["http://192.0.2.1:80", "http://api.openai.com", "", "http://example.test"])
def test_no_address_but_this_machine_s_is_ever_controlled(url: str) -> None:
    with pytest.raises(ServiceError):
        simulators.simulator_url("sim-east", {"BULKHEAD_SIM_EAST_URL": url})


def test_what_is_no_simulator_of_ours_is_left_alone(demo: Seeded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKHEAD_SIM_EAST_URL", simulators.simulator_url("sim-west"))
    with pytest.raises(simulators.SimulatorAway, match="is not the simulator"):
        simulators.simulator_scenario("sim-east")


def test_the_switch_of_its_traffic(admin: Client) -> None:
    admin.post("/demo/traffic/", {"on": "0"})
    assert not demo_state(settings.DATA_DIR).traffic
    admin.post("/demo/traffic/", {"on": "0"})
    assert AuditEvent.objects.filter(action="demo.traffic").count() == 1
    admin.post("/demo/traffic/", {"on": "1"})
    assert demo_state(settings.DATA_DIR).traffic


def facts(**more: object) -> Facts:
    counts = {"last_minute": 9, "rescued": 0, "failed": 0, "direct": 0, "current": 1, "total": 1, "version": 3}
    fields = {"broken": False, "switched": False, **counts}
    return Facts(**{**fields, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "seen", "states", "action"),
    [
        (DemoState(), facts(last_minute=0), "now later later later later", "break"),
        (DemoState(), facts(), "done now later later later", "break"),
        (DemoState(broken_at=10), facts(broken=True), "done done now later later", "switch"),
        (DemoState(broken_at=10), facts(broken=True, rescued=2), "done done done now later", "switch"),
        (
            DemoState(broken_at=10, switched_at=20),
            facts(broken=True, rescued=2, switched=True, current=0),
            "done done done now later",
            "undo",
        ),
        (DemoState(broken_at=10, switched_at=20), facts(broken=True, rescued=2, switched=True), "done done done done now", "undo"),
        (DemoState(broken_at=10, switched_at=20, undone_at=30), facts(rescued=2), "done done done done done", "break"),
        (DemoState(broken_at=10), facts(broken=None, rescued=1), "done now done later later", "break"),
    ],
)
def test_steps_tick_themselves_off_from_what_is_measured(state: DemoState, seen: Facts, states: str, action: str) -> None:
    found = tour(state, seen)
    assert " ".join(step.state for step in found.steps) == states
    assert found.action == action
