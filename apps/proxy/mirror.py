"""Mirrored (shadow) traffic: a share of a route's requests goes to another target too, after the app has its answer.

What the mirror says is compared and thrown away. It is a request of its own in every account: its record has the route's name with
``~mirror`` behind it, so that it is reported apart; it costs the same key and reserves from the same budgets; where those have no room,
where the target's breaker is open or MAX_AT_ONCE run already, there is no copy. Requests with tools are not mirrored: a model's call of
a tool says little by itself.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import msgspec

from apps.contracts.identifiers import uuid7_bytes
from apps.proxy.context import rewrite
from apps.proxy.dialects.translated import followed
from apps.proxy.driver import Driver
from apps.proxy.errors import AttemptFailed, Beaten, ClientGone, Refusal, Refused
from apps.proxy.exchange import Exchange
from apps.proxy.fleet.moving import fly_among
from apps.proxy.flight import fly
from apps.proxy.rescue import Sofar
from apps.proxy.translate import Rendered, sayable

if TYPE_CHECKING:
    from apps.proxy.engine import Engine
    from apps.proxy.http.types import Flow, Gone
    from apps.proxy.runtime import CompiledRoute

MAX_AT_ONCE = 64
MAX_ROUTES = 1_000
"""Routes whose comparisons are kept: what is told of them stays bounded, however often routes come and go."""
COMPARED_CHARACTERS = 20_000
SUFFIX = "~mirror"
_decode = msgspec.json.Decoder().decode


class Compared:
    """Of one route's mirror, since this process began. similarity: sum over ``answers`` of the share of words in common, 0..1.
    finish_differs: of JSON answers; a stream's finish reason is not kept."""

    __slots__ = ("answers", "failed", "finish_differs", "similarity")

    def __init__(self) -> None:
        self.answers = 0
        self.failed = 0
        self.finish_differs = 0
        self.similarity = 0.0


class Mirrors:
    """One per process."""

    def __init__(self) -> None:
        self.running = 0
        self.compared: dict[str, Compared] = {}
        """By route name."""
        self._routes: dict[int, tuple[CompiledRoute, CompiledRoute]] = {}

    def reflect(self, exchange: Exchange, engine: Engine, body: bytes | None) -> None:
        """Called when the app has its whole answer. body: of a JSON answer; a stream's is in ``exchange.streaming``."""
        route, key = exchange.route, exchange.key
        assert route is not None and key is not None
        settings = route.resilience
        target = settings.mirror
        if (
            target is None
            or target.killed
            or exchange.kind != "chat"
            or random.random() >= settings.mirror_share
            or self.running >= MAX_AT_ONCE
            or exchange.payload.get("tools")
        ):
            return
        original = _of_json(body) if body is not None else _of_stream(exchange)
        if original is None or not target.state.breaker.allows(engine.loop.time()) or not engine.journal.admit():
            return
        compared = self._compared_of(route.name)

        def answered(status: int, answer: bytes) -> None:
            found = _of_json(answer) if status == 200 else None
            if found is None:
                compared.failed += 1
                return
            compared.answers += 1
            compared.similarity += similarity(original[0], found[0])
            compared.finish_differs += original[1] != found[1] and original[1] != ""

        shadow = Exchange(
            uuid7_bytes(exchange.started_us // 1000),
            exchange.kind,
            exchange.request,
            Silent(answered),
            exchange.runtime,
            exchange.started_us,
            engine,
            perf_counter_ns(),
            exchange.body,
        )
        shadow.key, shadow.route = key, self._route_of(route)
        shadow.payload, shadow.requested_model = exchange.payload, exchange.requested_model
        shadow.input_bound, shadow.max_output, shadow.n = exchange.input_bound, exchange.max_output, exchange.n
        shadow.cap_injected, shadow.unbounded = exchange.cap_injected, exchange.unbounded
        shadow.extras = exchange.extras
        shadow.total, shadow.priority, shadow.plan = exchange.total, 2, (target,)
        shadow.trace = exchange.trace
        feature, tags, user, metadata = exchange.attribution
        shadow.attribution = (feature, tags, user, {**metadata, "bulkhead.mirror_of": exchange.request_id})
        if exchange.stream:
            plain = {name: value for name, value in exchange.payload.items() if name not in ("stream", "stream_options")}
            rewrite(shadow, plain)
        if target.translates and not sayable(shadow, target):
            return
        self.running += 1
        engine.metrics.running += 1
        driver = Driver(self._serve(shadow, engine), shadow.crashed)
        shadow.driver = driver
        driver.start()

    def _compared_of(self, route: str) -> Compared:
        found = self.compared.get(route)
        if found is None:
            if len(self.compared) >= MAX_ROUTES:
                del self.compared[next(iter(self.compared))]
            found = self.compared[route] = Compared()
        return found

    async def _serve(self, shadow: Exchange, engine: Engine) -> None:
        target = shadow.plan[0]
        slots = target.state.slots
        held = slots is not None and slots.take()
        try:
            if slots is not None and not held:
                raise Refused(Refusal("overloaded", "queue", f"{target.label} runs as many requests as it may."))
            await (fly if target.replicas is None else fly_among)(shadow, engine, target, "mirror")
        except AttemptFailed as error:
            engine.refuse(shadow, Refusal(error.code, "dispatch", f"The mirror could not answer: {error}."), outcome="error")
        except Refused as refused:
            engine.refuse(shadow, refused.refusal, outcome="refused")
        except (Beaten, ClientGone):  # nobody waits for it, so nobody leaves
            engine.client_left(shadow)
        finally:
            self.running -= 1
            if held and slots is not None:
                slots.give()

    def _route_of(self, route: CompiledRoute) -> CompiledRoute:
        """The route under the name that its mirror is reported by."""
        found = self._routes.get(id(route))
        if found is None or found[0] is not route:
            if len(self._routes) > MAX_ROUTES:
                self._routes.clear()
            shadow = copy.copy(route)
            shadow.name = route.name + SUFFIX
            shadow.resilience = copy.copy(route.resilience)
            shadow.resilience.mirror = None  # what a mirror says is not mirrored again
            shadow.templates, shadow.reply_heads = {}, {}
            found = self._routes[id(route)] = (route, shadow)
        return found[1]


class Silent:
    """A reply that nobody reads."""

    gone = False

    def __init__(self, answered: Callable[[int, bytes], None]) -> None:
        self._answered = answered
        self.on_gone: Gone | None = None

    def set_flow(self, flow: Flow | None) -> None: ...

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        self._answered(status, body)

    def start(self, status: int, headers: bytes, data: bytes = b"") -> None: ...

    def write(self, data: bytes) -> None: ...

    def raw_writer(self) -> Callable[[bytes], None] | None:
        return None

    def finish(self, data: bytes = b"") -> None:
        self._answered(0, b"")

    def abort(self) -> None:
        self._answered(0, b"")


def similarity(one: str, other: str) -> float:
    """Words in common as a share of all their words, 0..1; equal texts, two empty ones included, are 1."""
    ours, theirs = set(one[:COMPARED_CHARACTERS].lower().split()), set(other[:COMPARED_CHARACTERS].lower().split())
    if not ours and not theirs:
        return 1.0
    return len(ours & theirs) / len(ours | theirs)


def _of_json(body: bytes) -> tuple[str, str] | None:
    """(text, finish reason) of a chat completion; None when it is none."""
    try:
        answer: Any = _decode(body.pivot() if isinstance(body, Rendered) else body)
        choice = answer["choices"][0]
        return str(choice["message"].get("content") or ""), str(choice.get("finish_reason") or "")
    except (msgspec.MsgspecError, KeyError, IndexError, TypeError, AttributeError, UnicodeDecodeError, RecursionError):
        return None


def _of_stream(exchange: Exchange) -> tuple[str, str] | None:
    last = exchange.streaming
    watch = followed(last.watch) if last is not None else None
    sofar = Sofar.of(watch) if watch is not None else None
    return (sofar.text, "") if sofar is not None else None
