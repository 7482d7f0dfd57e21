"""The demo's own requests: varied, labelled, through a proxy, off when switched off, none once it is removed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from controlplane.demo import traffic
from controlplane.demo.state import FILE, DemoState, Removal, demo_state, demo_state_change, removal_progress
from tests.serving import QuietHandler, serving


class Proxy(ThreadingHTTPServer):
    """Answers 200 to everything and remembers who asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.status = 200
        outer = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                outer.seen.append((self.headers["authorization"], self.headers["x-bulkhead-tags"]))
                self.send_response(outer.status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with serving(Proxy()) as server:
        yield server


def data_dir_with_key(path: Path) -> Path:
    (path / "secrets").mkdir()
    (path / "secrets" / "demo_key").write_text("bk-example\n")
    return path


async def run_until(proxy: Proxy, data_dir: Path, wanted: int, *, seconds: float = 60.0) -> bool:
    """Run the traffic until so many requests were seen; False where they do not come."""
    stop = asyncio.Event()
    url = f"http://127.0.0.1:{proxy.server_address[1]}"
    running = asyncio.create_task(traffic.run(data_dir, url, stop=stop, rng=random.Random(1), every=0.01))
    deadline = asyncio.get_running_loop().time() + seconds
    while len(proxy.seen) < wanted and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(running, 60)
    return len(proxy.seen) >= wanted


def test_it_sends_with_the_demo_s_key_and_says_that_it_is_an_example(proxy: Proxy, tmp_path: Path) -> None:
    assert asyncio.run(run_until(proxy, data_dir_with_key(tmp_path), 5))
    assert set(proxy.seen) == {("Bearer bk-example", "demo-traffic")}


@pytest.mark.parametrize("state", [DemoState(traffic=False), DemoState(removal=Removal())])
def test_it_sends_nothing_while_switched_off_or_once_removed(proxy: Proxy, tmp_path: Path, state: DemoState) -> None:
    demo_state_change(data_dir_with_key(tmp_path), lambda now: state)
    assert not asyncio.run(run_until(proxy, tmp_path, 1, seconds=0.4))


def test_without_a_key_it_waits(proxy: Proxy, tmp_path: Path) -> None:
    assert not asyncio.run(run_until(proxy, tmp_path, 1, seconds=0.4))


def test_a_proxy_that_is_away_ends_nothing(tmp_path: Path) -> None:
    async def away() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(
            traffic.run(data_dir_with_key(tmp_path), "http://127.0.0.1:1", stop=stop, rng=random.Random(1), every=0.01)
        )
        await asyncio.sleep(0.3)
        assert not running.done()
        stop.set()
        await asyncio.wait_for(running, 60)

    asyncio.run(away())


def test_requests_vary_and_name_only_the_demo_s_routes() -> None:
    rng = random.Random(3)
    calls = [traffic.Call(rng) for _ in range(2_000)]
    assert {call.body["model"] for call in calls} == {"demo-chat", "demo-embed"}
    assert {call.headers.get("x-bulkhead-feature", "") for call in calls} == {name for name, _, _ in traffic.FEATURES}
    assert len({call.body.get("user") for call in calls}) > 40
    assert any(call.leaves for call in calls) and any("bulkhead_sim" in call.body for call in calls)
    assert not any("bulkhead_sim" in traffic.Call(rng, calm=True).body for _ in range(2_000))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unknown": 1}', '{"removal": 3}'])
def test_a_damaged_state_is_a_demo_that_nobody_touched(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert demo_state(tmp_path) == DemoState()


def test_the_state_is_changed_whole_and_read_back(tmp_path: Path) -> None:
    assert removal_progress(tmp_path, done=3) == DemoState()
    changed = demo_state_change(tmp_path, lambda now: replace(now, traffic=False, removal=Removal(by="ada", of=6)))
    assert demo_state(tmp_path) == changed
    assert removal_progress(tmp_path, done=3).removal == Removal(by="ada", of=6, done=3)
