"""A revoked key opens nothing in any proxy, and a key that came as another gateway's hash opens in all of them; measured, not bounded."""

from __future__ import annotations

import threading
import time
from hashlib import sha256

import httpx
import pytest

from tests.accept.conftest import FULL, Instance
from tests.launcher.conftest import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FULL, reason="whole instances with four proxies: make accept"),
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("accept"),
]

REVOKE = """
import time
from apps.audit.actors import Actor
from apps.keys.models import VirtualKey
from apps.keys.services import key_revoke
from apps.publishing.services import publish
from django.db import transaction
actor = Actor.command("revoke")
with transaction.atomic():
    key_revoke(actor=actor, key=VirtualKey.objects.get(name="{name}", state="active"), reason="leaked")
    publish(actor=actor, reason="leaked")
print("at", time.time())
"""


def codes(one: Instance, key: str, *, calls: int = 12) -> set[str]:
    """What calls get, each on a connection of its own, so that the kernel spreads them over the proxies."""
    url, headers = f"{one.facts['proxy_url']}/v1/models", {"authorization": f"Bearer {key}"}
    found = set()
    for _ in range(calls):
        answer = httpx.get(url, headers=headers, timeout=30)
        found.add("ok" if answer.status_code == 200 else answer.json()["error"]["code"])
    return found


def test_a_revoked_key_is_refused_by_every_proxy(instance: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    key = instance.new_key("to-be-revoked")
    assert codes(instance, key) == {"ok"}
    taken: list[float] = []  # when a call was sent that still got its answer
    stop = threading.Event()

    def calls() -> None:
        while not stop.is_set():
            sent = time.time()
            if codes(instance, key, calls=1) == {"ok"}:
                taken.append(sent)

    caller = threading.Thread(target=calls)
    caller.start()
    try:
        done = instance.command("shell", "-c", REVOKE.format(name="to-be-revoked"))
        wait_for(lambda: codes(instance, key, calls=4) == {"key_revoked"}, what="the proxies refuse the key")
    finally:
        stop.set()
        caller.join()
    assert codes(instance, key, calls=40) == {"key_revoked"}
    at = float(next(line.split()[1] for line in done.splitlines() if line.startswith("at ")))
    with capsys.disabled():
        print(f"\nrevoked: the last call that was taken was sent {(max(taken) - at) * 1000:+.0f} ms from when the publish returned")


def test_a_key_of_another_gateway_opens_with_the_secret_that_it_has(instance: Instance) -> None:
    token = "sk-an-app-has-had-this-for-years"
    file = instance.data_dir / "keys.csv"
    file.write_text(f"name,sha256\nfrom-elsewhere,{sha256(token.encode()).hexdigest()}\n")
    instance.command("import_keys", str(file), "--organisation", "demo")
    wait_for(lambda: codes(instance, token) == {"ok"}, what="every proxy takes the key")
    assert codes(instance, token + "x") == {"invalid_api_key"}
