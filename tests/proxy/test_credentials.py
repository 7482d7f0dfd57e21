"""Pools of credentials and tokens, by themselves: who is used, who rests, what a token endpoint that is away does to requests."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.contracts.credentials import EntraApp, Key
from apps.contracts.reports import credentials_in
from apps.contracts.tokens_issued import Token, TokenRequest
from apps.proxy.credentials import LONGEST_REST_SECONDS, REST_SECONDS, SPARED, CredentialPool, Credentials, Lending, Lent
from apps.proxy.errors import LimitReached, UpstreamAnswered
from apps.proxy.tokens import TokenKeeper
from apps.proxy.verdict import verdict
from tests.scale import examples

MODELS = ("small", "large")


def pool_of(count: int) -> CredentialPool:
    members = tuple(Lent(f"c-{n}", f"name-{n}", Key(f"sk-{n}"), b"authorization: Bearer sk-%d\r\n" % n, ()) for n in range(count))
    return CredentialPool(Lending("o/p/main", members, False, "https", "h"), SimpleNamespace())  # type: ignore[arg-type]


def take(pool: CredentialPool, model: str, now: float) -> Any:
    engine: Any = SimpleNamespace(loop=SimpleNamespace(time=lambda: now))
    exchange: Any = SimpleNamespace(runtime=SimpleNamespace(limits=None))
    return pool.take(exchange, engine, model)


def answered(status: int, after: str = "") -> UpstreamAnswered:
    return UpstreamAnswered(status, {b"retry-after": after.encode()} if after else {}, b"")


def hear(pool: CredentialPool, held: Any, model: str, error: UpstreamAnswered, now: float) -> Any:
    return pool.heard(held, held.lent.line, model, error, verdict(error), now)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(MODELS),
        st.sampled_from([200, 200, 200, 401, 402, 403, 429, 500]),
        st.floats(0, 400),
    ),
    max_size=60,
)


@given(st.integers(2, 5), STEPS)
@settings(max_examples=examples(600))
def test_a_credential_that_rests_is_not_used_and_one_that_is_well_serves(count: int, steps: list[tuple[str, int, float]]) -> None:
    """Against a model of its own: until when each is left alone, for all models or for one."""
    pool, now = pool_of(count), 0.0
    until: dict[tuple[str, str], float] = {}
    for model, status, passed in steps:
        now += passed
        free = {held.lent.id for held in pool.held if all(until.get((held.lent.id, of), -1.0) <= now for of in ("", model))}
        assert pool.another(model, now) == bool(free)
        if not free:
            with pytest.raises(LimitReached):
                take(pool, model, now)
            continue
        held = take(pool, model, now)
        assert held.lent.id in free
        if status == 200:
            held.worked(model, lambda now=now: now)
            continue
        others = free - {held.lent.id}
        ruling = hear(pool, held, model, answered(status), now)
        if status == 500:
            assert ruling == verdict(answered(500))  # no fault of the credential
            continue
        assert (ruling == SPARED) == bool(others), "a target is blamed only where nobody else is left"
        of = model if status in (403, 429) else ""
        ends = held.rests[model].until if of else held.rest.until
        least, most = (5.0, 5.0) if status == 429 else (REST_SECONDS, LONGEST_REST_SECONDS)
        assert now + least <= ends <= now + most
        until[held.lent.id, of] = ends


def test_they_are_used_in_turn() -> None:
    pool = pool_of(3)
    assert [take(pool, "m", 0.0).lent.id for _ in range(7)] == ["c-0", "c-1", "c-2", "c-0", "c-1", "c-2", "c-0"]


def test_a_rest_doubles_while_it_is_refused_and_ends_when_it_works() -> None:
    pool, now, rests = pool_of(2), 0.0, []
    held = pool.held[0]
    for _ in range(6):
        hear(pool, held, "m", answered(401), now)
        rests.append(held.rest.until - now)
        now = held.rest.until
    assert rests == [60, 120, 240, 480, 900, 900]
    held.worked("m", lambda: now)
    hear(pool, held, "m", answered(401), now)
    assert held.rest.until - now == 60


def test_what_was_sent_before_a_refusal_ends_no_rest() -> None:
    pool = pool_of(2)
    held = pool.held[0]
    hear(pool, held, "m", answered(401), 10.0)
    hear(pool, held, "m", answered(403), 10.0)
    held.worked("m", lambda: 11.0)
    assert held.resting("m", 69.0) and held.rests["m"].times == 1
    held.worked("m", lambda: 70.0)
    assert not held.rest.times and not held.rests


def test_without_a_token_the_rest_is_short() -> None:
    pool = pool_of(2)
    assert pool.heard(pool.held[0], b"", "m", answered(401), verdict(answered(401)), 0.0) == SPARED
    assert pool.held[0].resting("m", 4.9) and not pool.held[0].resting("m", 5.1)


def test_a_rate_limit_rests_one_for_as_long_as_it_was_told() -> None:
    pool = pool_of(2)
    hear(pool, pool.held[0], "m", answered(429, "17"), 0.0)
    assert pool.held[0].resting("m", 16.9) and not pool.held[0].resting("m", 17.1) and not pool.held[0].resting("other", 0.0)


def test_the_only_one_never_rests() -> None:
    pool = pool_of(1)
    assert hear(pool, pool.held[0], "m", answered(401), 0.0) == verdict(answered(401))
    assert take(pool, "m", 0.0) is pool.held[0]


def test_a_new_value_begins_anew_and_an_old_one_stays_known() -> None:
    pool = pool_of(2)
    for held in pool.held:
        hear(pool, held, "m", answered(401), 0.0)
    first, second = pool.lending.members
    pool.change(pool.lending._replace(members=(first, second._replace(credential=Key("sk-new")))), SimpleNamespace())  # type: ignore[arg-type]
    assert [held.resting("m", 1.0) for held in pool.held] == [True, False]


# --- tokens ---

APP = EntraApp("t", "c", "s")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Endpoint:
    """A token endpoint whose answers the test says."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: tuple[int, bytes] | Exception = (200, b'{"access_token":"first","expires_in":3600}')

    async def __call__(self, asked: TokenRequest, allow_private: bool) -> tuple[int, bytes]:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def turned(keeper: TokenKeeper, until: Any) -> None:
    """Lets the keeper look again until something holds."""
    async with asyncio.timeout(60):
        while not until():
            keeper.look()
            await asyncio.sleep(0.002)


async def test_the_old_token_serves_while_its_endpoint_is_away_and_then_there_is_none() -> None:
    clock, endpoint = Clock(), Endpoint()
    keeper = TokenKeeper(clock, endpoint, lambda: 1e9)
    state = keeper.state_of("c", APP, allow_private=False)
    task = asyncio.create_task(keeper.run())
    try:
        await asyncio.create_task(state.first(20))
        assert state.line == b"authorization: Bearer first\r\n" and endpoint.asked == 1
        clock.now = 2_000.0
        await asyncio.sleep(0.01)
        assert endpoint.asked == 1
        endpoint.answer = ConnectionRefusedError("refused")
        clock.now = 2_701.0  # three quarters of its life
        await turned(keeper, lambda: state.problem)
        assert state.good(clock.now) and "login.microsoftonline.com" in state.problem
        clock.now = 3_596.0
        await turned(keeper, lambda: not state.line)
        assert not state.good(clock.now)
        endpoint.answer = (200, b'{"access_token":"second","expires_in":3600}')
        clock.now = 3_700.0
        await turned(keeper, lambda: state.line)
        assert state.line == b"authorization: Bearer second\r\n" and not state.problem
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_refused_account_is_asked_again_ever_more_seldom() -> None:
    clock, endpoint = Clock(), Endpoint()
    endpoint.answer = (401, b'{"error":"invalid_client","error_description":"the secret is wrong"}')
    keeper = TokenKeeper(clock, endpoint, lambda: 1e9)
    state = keeper.state_of("c", APP, allow_private=False)
    task = asyncio.create_task(keeper.run())
    pauses = []
    try:
        for _ in range(8):
            asked = endpoint.asked
            await turned(keeper, lambda asked=asked: endpoint.asked > asked and state.running is None)  # type: ignore[misc]
            pauses.append(state.renew_at - clock.now)
            clock.now = state.renew_at
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert "the secret is wrong" in state.problem and "replace the credential" in state.problem
    assert pauses[0] <= 1 and 40 <= pauses[-1] <= 60


async def test_a_refused_token_is_renewed_once_for_all_who_had_it() -> None:
    clock, endpoint = Clock(), Endpoint()
    keeper = TokenKeeper(clock, endpoint, lambda: 1e9)
    state = keeper.state_of("c", APP, allow_private=False)
    task = asyncio.create_task(keeper.run())
    try:
        await asyncio.create_task(state.first(20))
        refused = state.line
        endpoint.answer = (200, b'{"access_token":"second","expires_in":3600}')
        state.refused(refused, clock.now)
        assert state.renew_at > clock.now, "it is too new to be the fault"
        clock.now = 40.0
        state.refused(refused, clock.now)
        async with asyncio.timeout(60):  # nobody has to look: the keeper is told
            while state.line == refused:
                await asyncio.sleep(0.002)
        clock.now = 80.0
        state.refused(refused, clock.now)
        assert state.renew_at > clock.now and endpoint.asked == 2
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_tokens_are_asked_for_in_the_open_on_private_networks_only() -> None:
    clock, endpoint = Clock(), Endpoint()
    keeper = TokenKeeper(clock, endpoint, lambda: 1e9)
    state = keeper.state_of("c", APP._replace(authority="http://tokens.example"), allow_private=False)
    task = asyncio.create_task(keeper.run())
    try:
        await asyncio.create_task(state.first(20))
        assert not endpoint.asked and "is not https" in state.problem
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_heartbeats_say_of_credentials() -> None:
    """Troubles first; a key that is well says nothing."""
    clock, endpoint = Clock(), Endpoint()
    keeper = TokenKeeper(clock, endpoint, lambda: 1e9)
    credentials = Credentials(clock, keeper)
    accounts = (Lent("g-1", "app", APP, b"", ()), Lent("g-2", "other-app", APP._replace(client_id="d"), b"", ()))
    keys = tuple(Lent(f"k-{n}", f"key-{n}", Key(f"sk-{n}"), b"x: y\r\n", ()) for n in range(3))
    lendings = [Lending("o/p/main", keys, False, "https", "h"), Lending("o/q/main", accounts, False, "https", "h")]
    targets = [SimpleNamespace(lending=lending, credentials=None) for lending in lendings]
    route = SimpleNamespace(every_target=targets)
    credentials.attach(SimpleNamespace(tables={"o": {"r": route}}))  # type: ignore[arg-type]
    pool: Any = targets[0].credentials
    assert [(row["name"], row["state"]) for row in credentials.told(0)] == [("app", "waiting"), ("other-app", "waiting")]
    keeper.state_of("g-1", APP, allow_private=False).took(Token("t", 3600), clock.now)
    keeper.state_of("g-2", APP._replace(client_id="d"), allow_private=False).failed(
        "https://x refused a token. Check the account.", clock.now
    )
    hear(pool, pool.held[0], "m", answered(401), clock.now)
    hear(pool, pool.held[1], "m", answered(403), clock.now)
    found = {row["name"]: row for row in credentials.told(1_000_000)}
    assert [row["state"] for row in found.values()] == ["no_token", "resting", "resting_model", "token"]
    assert found["key-0"]["until_ms"] == 1_060_000 and found["key-0"]["text"] == "refused with 401"
    assert found["key-1"]["text"] == "refused with 403 for m" and "Check the account" in found["other-app"]["text"]
    assert {report.name for report in credentials_in({"credentials": list(found.values())})} == set(found)
    credentials.attach(SimpleNamespace(tables={}))  # type: ignore[arg-type]
    assert credentials.told(0) == []
