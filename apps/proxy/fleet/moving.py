"""An attempt at a target that is a deployment: its target stays, its replica changes until one of them answers.

While the app has seen nothing, a request moves to another replica unseen, whatever befell the one before; each try is an attempt of its own
(journalled, reserved, recorded with the replica as its endpoint). After the first output it is the dispatcher's to continue the stream, and
it comes back here for the rest. What is outstanding at a replica is taken before the try and given back after it, on every way out.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from apps.proxy.dialects.openai_wire import json_object
from apps.proxy.dialects.wire_json import written
from apps.proxy.errors import AttemptFailed, LimitReached, ProxyError, UpstreamAnswered, UpstreamBroken, UpstreamSilent
from apps.proxy.fleet.prefixes import BLOCK_BYTES, blocks_of
from apps.proxy.fleet.replicas import MOST_HELD, Deployment, Replica
from apps.proxy.flight import Ask, fly
from apps.proxy.runtime import MAX_ATTEMPTS
from apps.proxy.strategies.weighted import sticky_value
from apps.proxy.verdict import verdict

if TYPE_CHECKING:
    from apps.contracts.usage import Role
    from apps.proxy.engine import Engine
    from apps.proxy.exchange import Exchange
    from apps.proxy.hedge import Race
    from apps.proxy.runtime import CompiledRoute, CompiledTarget

BYTES_PER_TOKEN = 4
WAYS = {
    "session": "its session stays with it",
    "prefix": "it has read most of the prompt's beginning",
    "load": "it has the least outstanding tokens, by its weight",
    "only": "no other replica is ready",
}
"""What decided, in words."""
_BLOCK_TOKENS = BLOCK_BYTES // BYTES_PER_TOKEN


async def fly_among(
    exchange: Exchange, engine: Engine, target: CompiledTarget, role: Role = "first", ask: Ask | None = None, race: Race | None = None
) -> None:
    """``flight.fly`` for a target with replicas; the same ends."""
    deployment, route = target.replicas, exchange.route
    assert deployment is not None and route is not None
    deployment.asked += role == "first"
    size, expected, blocks, session = _asked(exchange, deployment, route, exchange.body if ask is None else ask.body)
    tried: list[Replica] = []
    if ask is not None and exchange.streaming is not None and exchange.streaming.target.seat is not None:
        tried.append(exchange.streaming.target.seat)
    health, balancer = target.state.health, deployment.balancer
    held = False
    while True:
        replica = deployment.choose(size, blocks, session, tried, engine.loop.time())
        if (replica is None or replica.why) and not held and _may_hold(deployment, route, target):
            held = True
            tried.clear()  # whoever comes back is worth another try
            await deployment.arrival(engine.loop, max(0.001, min(route.resilience.queue, exchange.left_seconds())))
            continue
        if replica is None or (held and replica.why):  # nobody came back: the watch asks those that are out, not this request
            message = f"no {'other ' if tried else ''}replica of the deployment {deployment.name!r} is ready"
            raise UpstreamBroken(message, code="upstream_unreachable", sent=False, again=False, ours=True)
        berth = replica.target(target)
        if ask is not None:
            _readdress(ask, exchange, berth)
        tokens = size
        if blocks:
            known = balancer.index.match(blocks, replica.bit)
            if known:
                tokens -= min(known[0][0] * _BLOCK_TOKENS, size - expected)
        began = perf_counter_ns()
        balancer.take(replica, tokens, blocks)
        health.started()
        try:
            await fly(exchange, engine, berth, role, ask, race)
            health.first_token(((exchange.first_token_ns or perf_counter_ns()) - began) / 1e9, engine.loop.time())
            deployment.learned(exchange.attempts[-1].tokens.output)
            return
        except AttemptFailed as failed:
            now = engine.loop.time()
            if isinstance(failed, LimitReached):
                replica.state.breaker.release(now)
            _judge(deployment, replica, failed, now)
            tried.append(replica)
            if not _may_move(exchange, route, failed, ask, race):
                raise
            if not deployment.others(tried):
                if held or not (_may_hold(deployment, route, target) or _again(deployment, route, tried)):
                    raise
                held = held or bool(balancer.ready)
                tried.clear()  # somebody of them is in rotation again, or still: once more
            if isinstance(failed, UpstreamAnswered) and verdict(failed).course == "credential":
                engine.credential_refused(berth, failed.status, failed.credential)
            if role in ("first", "retry"):
                role = "failover"
        except ProxyError:  # it ended before it was sent, or with the app: were it a probe, another may be made
            replica.state.breaker.release(engine.loop.time())
            raise
        finally:
            balancer.give(replica, tokens)
            health.finished(engine.loop.time())


def explained(exchange: Exchange, route: CompiledRoute, target: CompiledTarget) -> dict[str, Any]:
    """For a dry run: whom the balancer would choose now and why, and how the others stand. Changes nothing."""
    deployment = target.replicas
    assert deployment is not None
    size, _, blocks, session = _asked(exchange, deployment, route, exchange.body)
    picked = deployment.balancer.pick(size, blocks, session)
    return {
        "deployment": deployment.name,
        "replica": picked.seat.id if picked is not None else None,
        "because": WAYS[picked.way] if picked is not None else "no replica is ready",
        "tokens": size,
        "blocks": len(blocks),
        "blocks_believed_cached": picked.matched if picked is not None else 0,
        "replicas": [one.view() for one in deployment.replicas.values()],
    }


def _asked(exchange: Exchange, deployment: Deployment, route: CompiledRoute, body: bytes) -> tuple[int, int, list[int], bytes]:
    """(tokens in all, of these the expected answer, the prompt's blocks, the session)."""
    sticky = route.resilience.sticky
    expected = int(min(exchange.max_output or deployment.output, deployment.output)) * exchange.n
    session = sticky_value(sticky, exchange).encode() if sticky else b""
    return len(body) // BYTES_PER_TOKEN + expected, expected, blocks_of(body), session


def _may_hold(deployment: Deployment, route: CompiledRoute, target: CompiledTarget) -> bool:
    """A request waits for a first replica only where nobody else could answer it meanwhile."""
    alone = all(other.replicas is deployment for other in route.live)
    return alone and not deployment.balancer.ready and deployment.waiting < min(MOST_HELD, route.fragment.resilience.queue_size)


def _again(deployment: Deployment, route: CompiledRoute, tried: list[Replica]) -> bool:
    """Whether all may be tried a second time: it was not one alone that failed, somebody is in rotation, and nobody else could answer."""
    return len(tried) > 1 and bool(deployment.balancer.ready) and all(other.replicas is deployment for other in route.live)


def _judge(deployment: Deployment, replica: Replica, failed: AttemptFailed, now: float) -> None:
    """What a failure says of the replica beside its breaker: a connection that is refused or breaks takes it out at once."""
    if isinstance(failed, UpstreamBroken) and not failed.ours and failed.code != "upstream_malformed":
        deployment.take_out(replica, "connection", now)


def _may_move(exchange: Exchange, route: CompiledRoute, failed: AttemptFailed, ask: Ask | None, race: Race | None) -> bool:
    if exchange.first_token_ns and (ask is None or failed.billable):
        return False  # the app has seen output: the dispatcher knows how a stream goes on
    if race is not None and race.winner is not None:
        return False
    course = verdict(failed).course
    if isinstance(failed, LimitReached) or course not in ("again", "next", "pause", "credential"):
        return False
    if isinstance(failed, UpstreamSilent) and not failed.telling:
        return False
    if isinstance(failed, UpstreamAnswered) and course != "credential" and not route.retries.take():
        return False  # replicas that refuse for load must not be asked by everybody in turn
    return exchange.opens < MAX_ATTEMPTS and not exchange.overdue()


def _readdress(ask: Ask, exchange: Exchange, berth: CompiledTarget) -> None:
    """The rest of a stream is asked in the replica's own name for its model, and at its address."""
    payload = json_object(ask.body)
    if payload is not None and payload.get("model") != berth.model:
        ask.body = written({**payload, "model": berth.model})
        if ask.call is not None:
            ask.call.body = ask.body
    if ask.call is not None:
        ask.call.head = berth.request_heads[exchange.kind]
