"""The deployments that this process knows, with their replicas: what facts say, and what attempts and probes have found out since.

Facts (``apps.contracts.fleet.EndpointFacts``) are taken over whole or as changes, newest (epoch, sequence) first; an older one is ignored.
A replica that keeps its address keeps its seat: its breaker, what is outstanding, what it has read. One that comes back elsewhere under
the same id is another one.

**Out of rotation** is a matter of this process: a connection that is refused or breaks takes a replica out at once, silence after a few
seconds (``apps.proxy.fleet.watch``); it is back when it answers a probe. Facts do not bring it back: the agent beside it may be right, and
the way from here to there be cut all the same.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from apps.contracts.fleet import REPLICAS_URL, EndpointFacts, ReplicaEndpoint
from apps.contracts.reports import MAX_OUT, DeploymentReport, OutReport
from apps.contracts.snapshot import BreakerPolicy
from apps.proxy.breaker import Breaker
from apps.proxy.fleet.balance import Balancer, Pick, Seat
from apps.proxy.runtime import Origin
from apps.proxy.state import TargetState

if TYPE_CHECKING:
    from apps.proxy.runtime import CompiledTarget

log = logging.getLogger("bulkhead.proxy")

Unseal = Callable[[str], bytes]
Why = Literal["", "connection", "silence"]
FIRST_OUTPUT_TOKENS = 256.0
"""Expected of an answer before any was seen."""
LEARNING = 0.05
"""Weight of one answer in the mean of answers' lengths."""
NOWHERE = b"host: %b\r\n" % (urlsplit(REPLICAS_URL).hostname or "").encode()
"""What heads of a deployment's target say, where those of a replica name its address."""
MOST_HELD = 512
"""Requests that may wait for a deployment without replicas."""


class Replica(Seat):
    """One endpoint. ``why``: why it is out of rotation here; empty while it is in. missed: probes in a row that it did not answer.
    where: of which deployment it is."""

    __slots__ = ("answered", "fact", "missed", "out_at", "place", "since", "state", "where", "why")

    def __init__(self, fact: ReplicaEndpoint, where: Deployment, policy: BreakerPolicy, time: Callable[[], float]) -> None:
        super().__init__(fact.replica, max(1, fact.weight), fact.capacity_tokens or 0)
        self.fact = fact
        self.where = where
        self.why: Why = ""
        self.since = 0.0
        """When it was taken out, or was asked in vain since then; the loop's time."""
        self.out_at = 0.0
        """When it was taken out; the loop's time."""
        self.missed = 0
        self.answered = 0.0
        """When it gave its last sign of life: it answered the free question, or a request; the loop's time."""
        self.place: CompiledTarget | None = None
        """Its place in the config that last sent something here; None: nothing was sent yet."""
        self.open = serves(fact)
        self.state = TargetState(Breaker(f"{where.key}/{fact.replica}", policy), time)

    def target(self, parent: CompiledTarget) -> CompiledTarget:
        """The place that a route's target stands for, while the attempt goes to this replica. Made once per config."""
        known = parent.berths
        found = known.get(self)
        if found is None:
            if len(known) > 4 * len(self.where.replicas) + 16:
                known.clear()
            found = known[self] = self.place = self._made(parent)
        return found

    def view(self) -> dict[str, object]:
        """How it stands here. out: why it is out of rotation."""
        return {
            "replica": self.id,
            "state": self.fact.state,
            "out": self.why,
            "breaker": self.state.breaker.state,
            "running": self.taken,
            "tokens": self.outstanding,
        }

    def _made(self, parent: CompiledTarget) -> CompiledTarget:
        fact = self.fact
        found = copy.copy(parent)
        parts = urlsplit(fact.url)
        host = parts.hostname or ""
        default = 443 if parts.scheme == "https" else 80
        before = parent.origin
        found.origin = Origin(
            parts.scheme,
            host,
            parts.port or default,
            before.verify_tls,
            before.ca_file,
            before.max_connections,
            True,  # a replica that the control plane has placed may well have a private address
        )
        shown = f"[{host}]" if ":" in host else host
        told = b"host: %b\r\n" % (shown if parts.port in (None, default) else f"{shown}:{parts.port}").encode()
        bearer = self.where.bearer_of(fact)
        if bearer:
            told += b"authorization: Bearer %b\r\n" % bearer
        path = b" %b/" % parts.path.rstrip("/").encode()
        found.request_heads = {kind: head.replace(b" /", path, 1).replace(NOWHERE, told, 1) for kind, head in parent.request_heads.items()}
        found.endpoint = fact.replica
        found.model = fact.model or parent.model
        found.region = fact.region or parent.region
        found.label = f"{parent.provider}/{fact.replica}/{found.model}"
        found.state = self.state
        found.replicas = None
        found.berths = {}
        found.seat = self
        return found


def serves(fact: ReplicaEndpoint) -> bool:
    return fact.state == "ready" and fact.weight > 0


class Deployment:
    """One deployment's replicas. ``key``: organisation/name. waiting: requests that are held because nobody is there."""

    __slots__ = (
        "_arrivals",
        "asked",
        "balancer",
        "key",
        "name",
        "on_doubt",
        "on_held",
        "organisation",
        "output",
        "policy",
        "replicas",
        "time",
        "unseal",
        "waiting",
    )

    def __init__(self, organisation: str, name: str, time: Callable[[], float]) -> None:
        self.key = f"{organisation}/{name}"
        self.organisation = organisation
        self.name = name
        self.asked = 0
        """Requests that came for it, since this process started."""
        self.on_held: Callable[[], None] = _silent
        """Called when the first request waits because nobody is ready."""
        self.on_doubt: Callable[[Replica], None] = _nothing
        """Called when a request waited for a replica in vain."""
        self.unseal: Unseal = _closed
        self.time = time
        self.balancer = Balancer()
        self.replicas: dict[str, Replica] = {}
        self.policy = BreakerPolicy()
        self.output = FIRST_OUTPUT_TOKENS
        """Tokens that an answer has, in the mean of late."""
        self.waiting = 0
        self._arrivals: list[asyncio.Future[None]] = []

    def adopt(self, facts: Iterable[ReplicaEndpoint]) -> list[Replica]:
        """These are all replicas there are; gives those that are there no more."""
        before = self.replicas
        now: dict[str, Replica] = {}
        for fact in facts:
            old = before.get(fact.replica)
            if old is None or _called(old.fact) != _called(fact):
                now[fact.replica] = Replica(fact, self, self.policy, self.time)
                continue
            old.fact = fact
            old.weight = max(1, fact.weight)
            old.capacity = fact.capacity_tokens or 0
            old.open = serves(fact) and not old.why
            now[fact.replica] = old
        self.replicas = now
        self.balancer.settle(now.values())
        self._tell()
        return [old for old in before.values() if now.get(old.id) is not old]

    def choose(self, tokens: int, blocks: list[int], session: bytes, avoid: Collection[Seat], now: float) -> Replica | None:
        """Whom to ask. Takes a half-open breaker's probe. Those that asked to be left alone, whose breaker is open or who are out for a
        broken connection are asked where nobody else is left: that is better than refusing. Silent ones are not."""
        shunned: set[Seat] | None = None
        while True:
            picked: Pick | None = self.balancer.pick(tokens, blocks, session, shunned if shunned is not None else avoid)
            if picked is None:
                break
            replica = picked.seat
            assert isinstance(replica, Replica)
            state = replica.state
            if state.breaker.state == "closed" and not state.resting_until:
                return replica
            if state.resting_until and state.resting_until <= now:
                state.resting_until = 0.0
            if not state.resting_until and state.breaker.allows(now):
                return replica
            if shunned is None:
                shunned = set(avoid)
            shunned.add(replica)
        left = [one for one in self.replicas.values() if one not in avoid and serves(one.fact) and one.why != "silence"]
        return min(left, key=lambda one: (one.why != "", one.state.resting_until, one.state.breaker.retry_at()), default=None)

    def bearer_of(self, fact: ReplicaEndpoint) -> bytes:
        """The token that a replica demands; empty where it demands none, or where this process's seal key does not open it."""
        if not fact.sealed:
            return fact.bearer.encode()
        try:
            return self.unseal(fact.sealed)
        except Exception as error:  # of whatever kind the key's library raises
            log.error("the token of replica %s cannot be opened with BULKHEAD_SEAL_KEY: %s", fact.replica, type(error).__name__)
            return b""

    def heard(self, replica: Replica, now: float) -> None:
        """It gave a sign of life: who waits may ask it."""
        replica.answered = now
        if self._arrivals and not replica.why:
            self._tell()

    def take_out(self, replica: Replica, why: Why, now: float) -> None:
        """It gets nothing new until ``bring_back``."""
        if replica.why:
            if why == "silence":
                replica.why = why
            return
        replica.why, replica.since, replica.out_at = why, now, now
        log.warning("replica %s of %s is out of rotation: %s", replica.id, self.key, why)
        self.balancer.turn(replica, open=False)

    def bring_back(self, replica: Replica) -> None:
        replica.missed = 0
        if not replica.why:
            return
        log.info("replica %s of %s answers again", replica.id, self.key)
        replica.why = ""
        if self.replicas.get(replica.id) is replica:
            self.balancer.turn(replica, open=serves(replica.fact))
            self._tell()

    def learned(self, output: int) -> None:
        """An answer had so many tokens."""
        self.output += LEARNING * (output - self.output)

    async def arrival(self, loop: asyncio.AbstractEventLoop, patience: float, avoid: Collection[Seat] = ()) -> None:
        """Returns when somebody may be picked beside those to ``avoid``, when any of these gave a sign of life, or after ``patience``
        seconds. For driven coroutines (``apps.proxy.driver``)."""
        if any(one not in avoid for one in self.balancer.ready):
            return
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(patience, _settle, future)
        self._arrivals.append(future)
        self.waiting += 1
        if self.waiting == 1:
            self.on_held()
        try:
            await future
        finally:
            self.waiting -= 1
            timer.cancel()
            if future in self._arrivals:
                self._arrivals.remove(future)

    def _tell(self) -> None:
        if self._arrivals and self.balancer.ready:
            arrivals, self._arrivals = self._arrivals, []
            for future in arrivals:
                _settle(future)

    def out(self) -> list[Replica]:
        """Those that facts name as ready and that are out of rotation here, the longest first."""
        return sorted((one for one in self.replicas.values() if one.why and serves(one.fact)), key=lambda one: one.out_at)

    def report(self, zero_ms: float) -> DeploymentReport:
        """For heartbeats: what the autoscaler and the reconciler go by. zero_ms: the epoch's milliseconds when the loop's time was 0."""
        running = sum(replica.taken for replica in self.replicas.values())
        answered = max((replica.answered for replica in self.replicas.values()), default=0.0)
        return DeploymentReport(
            self.organisation,
            self.name,
            self.waiting,
            running,
            self.balancer.outstanding,
            self.asked,
            round(zero_ms + answered * 1e3) if answered else 0,
            [OutReport(replica.id, round(zero_ms + replica.out_at * 1e3)) for replica in self.out()[:MAX_OUT]],
        )

    def view(self) -> dict[str, object]:
        """For the admin port."""
        return {
            "deployment": self.key,
            "waiting": self.waiting,
            "running": sum(replica.taken for replica in self.replicas.values()),
            "tokens": self.balancer.outstanding,
            "replicas": [replica.view() for replica in self.replicas.values()],
        }


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Fleet:
    """Every deployment of this process: those that routes name, and those that facts tell of. on_gone: told of replicas that left."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.epoch = 0
        self.sequence = 0
        self.known = False
        """Facts have come, if only from disk."""
        self.wanted = False
        """A route of the config names a deployment."""
        self.on_gone: Callable[[Replica], None] = _nothing
        self.on_held: Callable[[], None] = _silent
        """Called when a request begins to wait for a deployment without replicas."""
        self.on_doubt: Callable[[Replica], None] = _nothing
        """Called when a request waited for a replica in vain."""
        self.unseal: Unseal = _closed
        """Opens the tokens that replicas demand. Raises for what it cannot open."""
        self._time = time
        self._facts: dict[str, dict[str, ReplicaEndpoint]] = {}
        """By deployment's key and replica's id."""
        self._deployments: dict[str, Deployment] = {}

    def __iter__(self) -> Iterator[Deployment]:
        return iter(self._deployments.values())

    def __len__(self) -> int:
        return len(self._deployments)

    def of(self, organisation: str, name: str, policy: BreakerPolicy | None = None) -> Deployment:
        """The deployment of this name; made when there is none yet, without replicas."""
        key = f"{organisation}/{name}"
        found = self._deployments.get(key)
        if found is None:
            found = self._deployments[key] = Deployment(organisation, name, self._time)
            found.on_held = lambda: self.on_held()
            found.on_doubt = lambda replica: self.on_doubt(replica)
            found.unseal = lambda sealed: self.unseal(sealed)
            found.policy = policy or found.policy
            known = self._facts.get(key)
            if known:
                found.adopt(known.values())
        elif policy is not None and policy != found.policy:
            found.policy = policy
            for replica in found.replicas.values():
                replica.state.breaker.adopt(policy)
        return found

    def keep(self, keys: Collection[str]) -> None:
        """Only these are named by routes from now on; what else is held is forgotten when nothing runs there."""
        self.wanted = bool(keys)
        for key in [key for key, one in self._deployments.items() if key not in keys and not one.waiting]:
            deployment = self._deployments[key]
            if not any(replica.taken for replica in deployment.replicas.values()):
                del self._deployments[key]

    def apply(self, facts: EndpointFacts) -> bool:
        """Takes facts over; False where they were older than what is known. Whole ones are believed whatever their order: they are the
        answer to what this process said it knows, and an older sequence means that the database was set back."""
        if not facts.whole and self.known and (facts.epoch, facts.sequence) <= (self.epoch, self.sequence):
            return False
        before = self._facts
        after = {} if facts.whole else {key: dict(table) for key, table in before.items()}
        for fact in facts.endpoints:
            if not usable(fact):
                log.error("the endpoint %r of replica %s cannot be used: it needs http(s)://host[:port]", fact.url[:200], fact.replica)
                continue
            table = after.setdefault(f"{fact.organisation}/{fact.deployment}", {})
            if fact.state == "gone":
                table.pop(fact.replica, None)
                continue
            old = before.get(f"{fact.organisation}/{fact.deployment}", {}).get(fact.replica)
            newest = old if old is not None and (old.epoch, old.sequence) > (fact.epoch, fact.sequence) else fact
            table[fact.replica] = newest
        self._facts = after
        self.epoch, self.sequence, self.known = facts.epoch, facts.sequence, True
        for key, deployment in self._deployments.items():
            if facts.whole or after.get(key) != before.get(key):
                for replica in deployment.adopt(after.get(key, {}).values()):
                    self.on_gone(replica)
        return True

    def whole(self) -> EndpointFacts:
        """All that is known: what is kept on disk."""
        endpoints = [fact for table in self._facts.values() for fact in table.values()]
        return EndpointFacts(epoch=self.epoch, sequence=self.sequence, whole=True, endpoints=endpoints)

    def drain(self, now: float) -> None:
        """Tell replicas' breakers and health of what went well."""
        for deployment in self._deployments.values():
            for replica in deployment.replicas.values():
                replica.state.drain(now)

    def view(self) -> list[dict[str, object]]:
        return [deployment.view() for _, deployment in sorted(self._deployments.items())]


def _called(fact: ReplicaEndpoint) -> tuple[str, str, str, str]:
    """How it is called: where that differs it is another one."""
    return fact.url, fact.model, fact.bearer, fact.sealed


def usable(fact: ReplicaEndpoint) -> bool:
    """Whether its address can be called: ``http(s)://host[:port][/path]`` in printable ASCII, without user or query."""
    try:
        parts = urlsplit(fact.url)
        port = parts.port
    except ValueError:
        return False
    plain = all(33 <= ord(character) < 127 for character in fact.url + fact.bearer)
    odd = parts.query or parts.fragment or parts.username
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not odd


def _nothing(replica: Replica) -> None:
    pass


def _silent() -> None:
    pass


def _closed(sealed: str) -> bytes:
    raise ValueError("there is no seal key")
