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
from apps.proxy.fleet.tries import End, Tries
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
UNAVAILABLE = 503
"""What an engine answers that loads, shuts down, or has no room in its line."""
WAYS = {
    "session": "its session stays with it",
    "prefix": "it has read most of the prompt's beginning",
    "load": "it has the least outstanding tokens, by its weight",
    "only": "no other replica is ready",
}
"""What decided, in words."""
_BLOCK_TOKENS = BLOCK_BYTES // BYTES_PER_TOKEN


async def fly_among(
    exchange: Exchange,
    engine: Engine,
    target: CompiledTarget,
    role: Role = "first",
    ask: Ask | None = None,
    race: Race | None = None,
    tries: Tries[Replica] | None = None,
) -> None:
    """``flight.fly`` for a target with replicas; the same ends. tries: where this request failed before, and where it fails now."""
    deployment, route = target.replicas, exchange.route
    assert deployment is not None and route is not None
    deployment.asked += role == "first"
    size, expected, blocks, session = _asked(exchange, deployment, route, exchange.body if ask is None else ask.body)
    if tries is None:
        tries = Tries()
    health, balancer = target.state.health, deployment.balancer
    failed: AttemptFailed | None = None
    waits_until = 0.0
    while True:
        now = engine.loop.time()
        avoid = tries.passed_over(now) if tries else ()
        replica = deployment.choose(size, blocks, session, avoid, now)
        if replica is None or replica.why:
            if failed is not None and not _may_wait(deployment, route, tries, failed):
                raise failed
            if _alone(deployment, route):
                waits_until = waits_until or now + min(route.resilience.queue, exchange.left_seconds())
                left = waits_until - now
                if left > 0 and deployment.waiting < min(MOST_HELD, route.fragment.resilience.queue_size):
                    soonest = tries.soonest(balancer.ready, now)
                    await deployment.arrival(engine.loop, max(0.001, left if soonest is None else min(left, soonest)), avoid)
                    continue
            if replica is None or waits_until:  # nobody came back: the watch asks those that are out, not this request
                if isinstance(failed, UpstreamAnswered):
                    raise failed
                message = f"no {'other ' if tries else ''}replica of the deployment {deployment.name!r} is ready"
                code = "upstream_unreachable" if failed is None else failed.code
                raise UpstreamBroken(message, code=code, sent=False, again=False, ours=True) from failed
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
            now = engine.loop.time()
            health.first_token(((exchange.first_token_ns or perf_counter_ns()) - began) / 1e9, now)
            deployment.heard(replica, now)
            deployment.learned(exchange.attempts[-1].tokens.output)
            return
        except AttemptFailed as error:
            failed, now = error, engine.loop.time()
            if isinstance(error, LimitReached):
                replica.state.breaker.release(now)
            tries.failed(replica, now, end_of(error))
            _judge(deployment, replica, error, now)
            if not _may_move(exchange, route, error, ask, race):
                raise
            if isinstance(error, UpstreamAnswered) and verdict(error).course == "credential":
                engine.credential_refused(berth, error.status, error.credential)
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


def end_of(failed: AttemptFailed) -> End:
    """How an attempt failed, for ``Tries``."""
    if isinstance(failed, UpstreamSilent):
        return "silent"
    return "broken" if isinstance(failed, UpstreamBroken) else "refused"


def _alone(deployment: Deployment, route: CompiledRoute) -> bool:
    """Whether nobody else could answer: a request waits for a replica only then."""
    return all(other.replicas is deployment for other in route.live)


def _may_wait(deployment: Deployment, route: CompiledRoute, tries: Tries[Replica], failed: AttemptFailed) -> bool:
    """Whether a request that failed may wait here for another try. Where there is one replica only, which is in rotation and did not say
    that it cannot serve now, it is the dispatcher's to try again."""
    if not _alone(deployment, route):
        return False
    if len(deployment.replicas) > 1 or len(tries) > 1 or not deployment.balancer.ready or isinstance(failed, UpstreamSilent):
        return True
    return isinstance(failed, UpstreamAnswered) and failed.status == UNAVAILABLE


def _judge(deployment: Deployment, replica: Replica, failed: AttemptFailed, now: float) -> None:
    """What a failure says of the replica beside its breaker: a connection that is refused or breaks takes it out at once, and who was
    silent is asked whether it lives."""
    if isinstance(failed, UpstreamBroken) and not failed.ours and failed.code != "upstream_malformed":
        deployment.take_out(replica, "connection", now)
    elif isinstance(failed, UpstreamSilent) and failed.telling:
        deployment.on_doubt(replica)


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
