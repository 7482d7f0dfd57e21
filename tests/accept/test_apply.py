"""A change of a route's target reaches four proxies, and ``4/4`` says so; it is taken back; a broken one changes nothing."""

from __future__ import annotations

import httpx
import pytest

from tests.accept.conftest import FULL, Instance
from tests.launcher.conftest import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROUTE = "organisation: demo\nroutes:\n- name: apply-chat\n  targets:\n  - provider: {provider}\n    model: sim-chat\n"


def check_everywhere(one: Instance, key: str, provider: str) -> None:
    """The head version runs on all four, by their own word, and whoever answers uses this provider."""
    head = one.query("SELECT max(number) FROM publishing_version")[0][0]
    for proxy in one.facts["proxies"]:
        assert httpx.get(f"{proxy['admin_url']}/readyz").json()["config_version"] == head
    call = {"model": "apply-chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    for _ in range(12):  # a connection each: the kernel spreads them over the four processes
        answer = httpx.post(f"{one.facts['proxy_url']}/v1/chat/completions", json=call, headers={"authorization": f"Bearer {key}"})
        assert answer.headers["x-bulkhead-target"].startswith(f"{provider}/"), answer.headers
        assert answer.headers["x-bulkhead-config"] == str(head)


def acknowledged_after(one: Instance) -> tuple[int, float]:
    """(proxies, seconds until the slowest said so) of the head version."""
    found = one.query(
        "SELECT count(*), extract(epoch FROM max(p.acked_at) - v.created_at) FROM publishing_version v"
        " JOIN publishing_proxy p ON p.version = v.number WHERE p.gone_at IS NULL GROUP BY v.number, v.created_at"
        " ORDER BY v.number DESC LIMIT 1"
    )[0]
    return int(found[0]), float(found[1])


def test_a_changed_target_reaches_four_proxies(instance: Instance) -> None:
    one, slowest = instance, 0.0
    key = one.new_key("applied", rest=ROUTE.partition("\n")[2].format(provider="sim-east"))
    check_everywhere(one, key, "sim-east")
    for provider in ("sim-west", "sim-east") * 4 + ("sim-west",) if FULL else ("sim-west",):
        out = one.apply(ROUTE.format(provider=provider))
        assert "4/4" in out, out
        proxies, seconds = acknowledged_after(one)
        assert proxies == 4
        slowest = max(slowest, seconds)
        check_everywhere(one, key, provider)
    print(f"slowest acknowledgement after the version was made: {slowest * 1000:.0f} ms")
    if FULL:
        assert slowest < 1.0

    head = one.query("SELECT max(number) FROM publishing_version")[0][0]
    one.command("rollback", str(head - 1), "--reason", "not that one")
    wait_for(lambda: acknowledged_after(one)[0] == 4, what="the rollback is acknowledged")
    check_everywhere(one, key, "sim-east")

    head = one.query("SELECT max(number) FROM publishing_version")[0][0]
    broken = one.data_dir / "broken.yaml"
    broken.write_text(ROUTE.format(provider="sim-west").replace("model: sim-chat", "modle: sim-chat"))
    refused = one.manage("apply", "-f", str(broken))
    said = refused.stdout + refused.stderr
    assert refused.returncode == 1, said
    assert "broken.yaml" in said and "modle" in said and "6" in said, said
    assert one.query("SELECT max(number) FROM publishing_version")[0][0] == head
    check_everywhere(one, key, "sim-east")
