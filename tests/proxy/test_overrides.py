"""Overrides of a host: thrown without the control plane, kept over a restart, ended by themselves, told afterwards."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from django.core.management import CommandError, call_command
from django.test.utils import override_settings

from apps.contracts.identifiers import uuid7
from apps.contracts.overrides import MAX_MS, TOKEN_HEADER, OverrideAsk, overrides_in
from apps.contracts.snapshot import FlagFragment, KeyFragment, Target
from apps.proxy.holder import Holder
from apps.proxy.overrides import OverrideRefused, Overrides
from apps.simulator.harness import SimulatorServer
from tests.proxy.conftest import KEY
from tests.proxy.conftest import ORG as LIVE_ORG
from tests.proxy.fragments import ORG, provider, route
from tests.proxy.standalone import StandaloneProxy, config_of, free_port
from tests.proxy.test_process import BODY, HEADERS, small_world

EAST, WEST = Target(provider="east", model="m"), Target(provider="west", model="m")
START = 1_800_000_000_000


class Host:
    """A proxy's config in force, and the overrides laid over it; ``now`` is the database's time in milliseconds."""

    def __init__(self, folder: Path, *more: Any) -> None:
        self.folder, self.now = folder, START
        west = provider(id="p-2", name="west", base_url="http://127.0.0.1:2/v1")
        key = KeyFragment(id="k-1", name="app", public_id="abc", organisation=ORG, digests=["aa"])
        self.config = config_of([provider(), west, route(targets=[EAST], fallback=[WEST]), key, *more])
        self.restart()

    def restart(self) -> None:
        self.holder = Holder(None, lambda: self.now)
        self.holder.apply(self.config)
        self.overrides = Overrides(self.folder, self.holder, lambda: self.now)
        self.overrides.load()

    def ask(self, **what: Any) -> OverrideAsk:
        return OverrideAsk(**({"id": str(uuid7()), "by": "ada", "reason": "east burns", "until_ms": self.now + 60_000} | what))

    @property
    def route(self) -> Any:
        return self.holder.current.tables[ORG]["chat"]

    def goes(self) -> tuple[list[str], str]:
        """(providers that are left, why the route is stopped)."""
        return [target.provider for target in self.route.live], (self.route.stopped or ("",))[0]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({"kind": "fallback", "subject": "route", "name": "chat"}, (["west"], "")),
        ({"kind": "kill", "subject": "provider", "name": "east"}, ([], "")),
        ({"kind": "kill", "subject": "model", "name": "m"}, ([], "")),
        ({"kind": "kill", "subject": "route", "name": "chat"}, (["east"], "route_killed")),
        ({"kind": "degrade", "subject": "organisation", "level": "minimal"}, (["east"], "degraded")),
        ({"flag": "fall"}, (["west"], "")),
        ({"flag": "stop", "on": False}, (["east"], "")),
    ],
    ids=str,
)
def test_an_override_acts_at_once_survives_a_restart_and_ends_by_itself(tmp_path: Path, what: dict[str, Any], expected: Any) -> None:
    fall = FlagFragment(id="f-1", name="fall", organisation=ORG, kind="fallback", subject="route", subject_id="r-1")
    stop = FlagFragment(
        id="f-2", name="stop", organisation=ORG, kind="kill", subject="route", subject_id="r-1", on="flag" in what and "on" in what
    )
    host = Host(tmp_path / "overrides", fall, stop)
    before = host.goes()
    made = host.overrides.add(host.ask(**what))
    assert host.goes() == expected != before
    assert host.overrides.add(host.ask(**what, id=made.id)) == made, "asked twice"
    host.holder.apply(msgspec.structs.replace(host.config, version=2))
    assert host.goes() == expected, "a publish does not end it"
    host.restart()
    assert host.goes() == expected and [one.id for one in host.overrides.in_force()] == [made.id]
    host.now = made.until_ms - 1
    assert host.holder.current.good_until_ms == made.until_ms and host.goes() == expected
    host.now = made.until_ms
    host.holder.refresh()
    assert host.goes() == before and host.overrides.in_force() == []
    (told,) = overrides_in({"overrides": host.overrides.told()})
    assert (told.id, told.ended_ms, told.by, told.reason) == (made.id, made.until_ms, "ada", "east burns")


def test_an_override_can_be_taken_back_and_is_told_of_for_a_week(tmp_path: Path) -> None:
    host = Host(tmp_path)
    made = host.overrides.add(host.ask(kind="kill", subject="route", name="chat"))
    host.now += 1_000
    assert host.overrides.end(made.id).ended_ms == host.now and host.goes() == (["east"], "")
    with pytest.raises(OverrideRefused, match="no override"):
        host.overrides.end(made.id)
    host.restart()
    assert len(host.overrides.told()) == 1
    host.now += 8 * 24 * 3_600_000
    host.restart()
    assert host.overrides.told() == [] and list(tmp_path.glob("*.json")) == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"flag": "nope"}, "is not in the config"),
        ({"kind": "kill", "subject": "provider", "name": "north"}, "is not in the config"),
        ({"kind": "kill", "subject": "team", "name": "search"}, "kill of provider"),
        ({"kind": "release", "subject": "organisation"}, "name a flag"),
        ({"kind": "kill", "subject": "route", "name": "chat", "on": False}, "only a flag"),
        ({"kind": "degrade", "subject": "route", "name": "chat"}, "how far"),
        ({"kind": "kill", "subject": "feature", "name": ""}, "name the feature"),
        ({"kind": "kill", "subject": "feature", "name": "x", "organisation": "o-9"}, "which organisation"),
        ({"kind": "kill", "subject": "route", "name": "chat", "reason": " "}, "say why"),
        ({"kind": "kill", "subject": "route", "name": "chat", "until_ms": START}, "within a day"),
        ({"kind": "kill", "subject": "route", "name": "chat", "until_ms": START + MAX_MS + 1}, "within a day"),
        ({"kind": "kill", "subject": "route", "name": "chat", "id": "../../x"}, "no id"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_and_leaves_nothing(tmp_path: Path, what: dict[str, Any], said: str) -> None:
    host = Host(tmp_path)
    with pytest.raises(OverrideRefused, match=said):
        host.overrides.add(host.ask(**what))
    assert host.goes() == (["east"], "") and list(tmp_path.iterdir()) == []


def test_what_cannot_be_kept_is_not_in_force_and_a_damaged_file_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    host = Host(tmp_path / "file" / "below")
    with pytest.raises(OSError):
        host.overrides.add(host.ask(kind="kill", subject="route", name="chat"))
    assert host.goes() == (["east"], "")
    folder = tmp_path / "overrides"
    folder.mkdir()
    (folder / "a.json").write_text("{")
    assert Host(folder).goes() == (["east"], "")


def command(data_dir: Path, *words: str) -> str:
    said = StringIO()
    with override_settings(DATA_DIR=data_dir):
        call_command("override", *words, stdout=said)
    return said.getvalue()


def test_with_postgres_stopped_the_command_switches_the_proxies_of_its_host(east: SimulatorServer, tmp_path: Path) -> None:
    nobody = f"postgresql://bulkhead_proxy:x@127.0.0.1:{free_port()}/bulkhead"
    environ = {"BULKHEAD_PROXY_DATABASE_URL": nobody}
    stop = FlagFragment(id="f", name="stop", organisation=LIVE_ORG, kind="kill", subject="route", subject_id="r")
    with StandaloneProxy([*small_world(east.base_url), stop], tmp_path, environ=environ) as proxy:  # type: ignore[list-item]

        def asked() -> tuple[int, dict[str, Any]]:
            answer = httpx.post(f"{proxy.url}/v1/chat/completions", json=BODY, headers=HEADERS, timeout=60)
            return answer.status_code, answer.json()

        assert asked()[0] == 200
        assert httpx.get(f"{proxy.admin_url}/readyz", timeout=60).json()["database"] is False
        assert "1 of 1 proxies" in command(tmp_path, "on", "stop", "--reason", "east burns", "--for", "30m")
        status, body = asked()
        assert (status, body["error"]["code"], body["bulkhead"]["flags"]) == (503, "route_killed", ["stop"])
        proxy.stop()
        proxy.start()
        assert asked()[0] == 503, "it is in force before the first request is served"
        assert httpx.get(f"{proxy.admin_url}/readyz", timeout=60).json()["overrides"] == ["flag stop on"]
        assert "bulkhead_overrides 1" in httpx.get(f"{proxy.admin_url}/metrics", timeout=60).text
        listed = command(tmp_path, "list")
        assert "1 in force" in listed and "east burns" in listed
        assert "in force: degrade route chat to minimal" in command(
            tmp_path, "degrade", "route", "chat", "--level", "minimal", "--reason", "both", "--for", "90s"
        )
        first = listed.split("\n")[1].split()[0]
        assert "ended" in command(tmp_path, "end", first)
        assert asked()[1]["error"]["code"] == "degraded"
        for words, said in (
            (("on", "nope", "--reason", "x", "--for", "5m"), "no proxy of this host took it"),
            (("on", "stop", "--reason", "x", "--for", "25h"), "at most 24h"),
            (("kill", "route", "chat", "--reason", "x"), "--for"),
            (("end", first), "nothing has changed"),
        ):
            with pytest.raises(CommandError, match=said):
                command(tmp_path, *words)
        told = json.loads((tmp_path / "proxy" / "proxy-1" / "admin.json").read_bytes())
        for headers, status in (({}, 403), ({TOKEN_HEADER: "x"}, 403), ({TOKEN_HEADER: told["token"], "origin": "http://evil"}, 403)):
            assert httpx.get(f"{told['admin_url']}/overrides", headers=headers, timeout=60).status_code == status
        (tmp_path / "elsewhere").mkdir()
        with pytest.raises(CommandError, match="--data-dir"):
            command(tmp_path / "elsewhere", "list")
    assert KEY not in proxy.log.read_text()
