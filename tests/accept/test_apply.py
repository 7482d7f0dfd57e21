"""A change of a route's target reaches four proxies, and the page's ``4/4`` says so."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.accept.conftest import FULL, Instance

pytestmark = [pytest.mark.slow]


def test_a_changed_target_reaches_four_proxies(instance: Callable[..., Instance]) -> None:
    one = instance("--proxies", "4")
    facts = one.facts
    document = one.data_dir / "west.yaml"
    call = {"model": "demo-chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    slowest = 0.0
    for provider in ("sim-west", "sim-east", "sim-west") if FULL else ("sim-west",):
        document.write_text(f"organisation: demo\nroutes:\n- name: demo-chat\n  targets:\n  - provider: {provider}\n    model: sim-chat\n")
        out = one.command("apply", "-f", str(document))
        assert "4/4" in out, out
        version, seconds, proxies = one.query(
            "SELECT v.number, extract(epoch FROM max(p.acked_at) - v.created_at), count(*) FROM publishing_version v"
            " JOIN publishing_proxy p ON p.version = v.number WHERE p.gone_at IS NULL GROUP BY v.number, v.created_at"
            " ORDER BY v.number DESC LIMIT 1"
        )[0]
        assert proxies == 4
        slowest = max(slowest, float(seconds))
        for _ in range(12):  # a connection each: the kernel spreads them over the four processes
            answer = httpx.post(f"{facts['proxy_url']}/v1/chat/completions", json=call, headers={"authorization": f"Bearer {facts['key']}"})
            assert answer.headers["x-bulkhead-target"].startswith(f"{provider}/"), answer.headers
            assert answer.headers["x-bulkhead-config"] == str(version)
    print(f"slowest acknowledgement after the version was made: {slowest * 1000:.0f} ms")
    if FULL:
        assert slowest < 1.0
