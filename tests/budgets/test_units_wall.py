"""A hard budget over what is billed by units, in a real proxy on real Postgres: what fits is made, what does not is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import openai
import psycopg
import pytest

from apps.contracts.money import MILLION
from apps.contracts.snapshot import (
    BudgetFragment,
    CredentialFragment,
    Endpoint,
    Fragment,
    KeyFragment,
    ProviderFragment,
    RouteFragment,
    Target,
    UnitPriceFragment,
)
from apps.simulator.harness import SimulatorServer
from tests.conformance.test_operations import wav
from tests.conftest import FreshDatabase
from tests.proxy.standalone import StandaloneProxy, digest_of, seal
from tests.responses.test_stored import publish

CENT = 10_000_000
KEYS = {"pictures": "bk-pictureskey-secret-of-it", "sound": "bk-soundsoundk-secret-of-it"}
LIMITS = {"pictures": 20 * CENT, "sound": 1 * CENT}


def test_images_and_sound_stop_at_the_wall(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    organisation, budgets = str(uuid4()), {name: str(uuid4()) for name in LIMITS}
    with psycopg.connect(fresh_database.url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO accounts_organisation (id, name, slug, simulated, created_at) VALUES (%s, 'Acme', 'acme', false, now())",
            [organisation],
        )
        for name, limit in LIMITS.items():
            connection.execute(
                'INSERT INTO budgets_budget (id, organisation_id, name, scope, "window", timezone, limit_nano, created_at, changed_at) '
                "VALUES (%s, %s, %s, 'organisation', 'month', 'UTC', %s, now(), now())",
                [budgets[name], organisation, name, limit],
            )
    found: list[Fragment] = [CredentialFragment(id="c", sealed=seal("upstream"))]
    with SimulatorServer("sim-units") as sim:
        endpoint = Endpoint(name="sim", base_url=sim.base_url, credential="c")
        provider = ProviderFragment(id="p", name="sim", kind="openai", organisation=organisation, simulated=True, endpoints=[endpoint])
        found.append(msgspec.structs.replace(provider, allow_private_addresses=True))
        for model, unit, nano in (("dall-e-3", "image", 4 * CENT), ("whisper-1", "second", CENT // 10)):
            found.append(RouteFragment(id=model, name=model, organisation=organisation, targets=[Target(provider="sim", model=model)]))
            found.append(
                UnitPriceFragment(id=model, organisation=organisation, provider="p", model=model, unit=unit, amount=nano * MILLION)
            )
        for name, token in KEYS.items():
            found.append(KeyFragment(id=name, name=name, public_id=name, organisation=organisation, digests=[digest_of(token)]))
            facts: dict[str, Any] = {"scope": "key", "scope_id": name, "window": "month", "limit_nano": LIMITS[name]}
            found.append(BudgetFragment(id=budgets[name], name=name, organisation=organisation, **facts))
        publish(fresh_database, found)
        environ = {"BULKHEAD_PROXY_DATABASE_URL": fresh_database.proxy_url}
        with (
            StandaloneProxy(found, tmp_path, environ=environ) as proxy,
            openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=KEYS["pictures"], max_retries=0, timeout=60) as client,
        ):

            def draw(count: int) -> str:
                try:
                    return str(len(client.images.generate(model="dall-e-3", prompt="the moon", n=count).data or ()))
                except openai.APIStatusError as error:
                    return str(error.code)

            with ThreadPoolExecutor(8) as pool:
                given = list(pool.map(draw, [1] * 8))
            assert given.count("1") == 5 and given.count("budget_exceeded") == 3, given
            assert len([line for line in sim.bill()["seen"] if line["model"] == "dall-e-3"]) == 5, "nobody was asked for the others"
            hearing = client.with_options(api_key=KEYS["sound"])
            assert hearing.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav(6))).text
            with pytest.raises(openai.APIStatusError) as caught:
                hearing.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav(6)))
            assert caught.value.code == "budget_exceeded"
            assert hearing.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav(3))).text
