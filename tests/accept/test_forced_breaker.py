"""A breaker that a person forces acts in every running proxy, until it is let go."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.accept.conftest import FULL, Instance
from tests.launcher.conftest import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FULL, reason="four processes and three commands take a minute: make accept"),
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("accept"),
]

ROUTE = """routes:
- name: forced-chat
  unpriced: zero
  targets:
  - {provider: sim-east, model: sim-forced}
  - {provider: sim-west, model: sim-chat}
"""
DECIDE = """
from apps.audit.actors import Actor
from apps.publishing.services import publish
from apps.routes import breakers, selectors
from apps.routes.models import Route
route = Route.objects.get(name="forced-chat")
actor = Actor.command("force")
target = selectors.target_specs(route, "primary")[0]
breakers.{decision}
publish(actor=actor, reason="it lies")
"""
FORCE = DECIDE.format(decision='breaker_force(actor=actor, route=route, target=target, state="open", reason="it lies")')
RELEASE = DECIDE.format(decision="breaker_release(actor=actor, route=route, target=target)")


def breakers(one: Instance) -> set[str]:
    """What the four proxies say of the forced target."""
    found: set[str] = set()
    for proxy in one.facts["proxies"]:
        rows: list[dict[str, Any]] = httpx.get(f"{proxy['admin_url']}/states", timeout=60).json()["targets"]
        found |= {str(row["breaker"]) for row in rows if str(row["target"]).endswith("/sim-forced")}
    return found


def providers(one: Instance, key: str) -> set[str]:
    """Who answers; each call on a connection of its own, so that the kernel spreads them over the proxies."""
    call = {"model": "forced-chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    url, headers = f"{one.facts['proxy_url']}/v1/chat/completions", {"authorization": f"Bearer {key}"}
    answers = [httpx.post(url, json=call, headers=headers, timeout=30) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    return {answer.headers["x-bulkhead-target"].split("/")[0] for answer in answers}


def test_forced_open_everywhere_and_let_go(instance: Instance) -> None:
    key = instance.new_key("forced", rest=ROUTE)
    assert breakers(instance) == {"closed"} and providers(instance, key) == {"sim-east"}
    instance.command("shell", "-c", FORCE)
    wait_for(lambda: breakers(instance) == {"open"}, what="every proxy holds it open")
    assert providers(instance, key) == {"sim-west"}
    instance.command("shell", "-c", RELEASE)
    wait_for(lambda: breakers(instance) == {"closed"}, what="it is let go")
    assert providers(instance, key) == {"sim-east"}
