"""Records as proxies write them, for tests and the bench: deterministic by seed."""

from __future__ import annotations

import random
import time
from uuid import UUID

from apps.contracts.identifiers import uuid7, uuid7_bytes
from apps.contracts.usage import Attempt, Charge, OpenRecord, Tokens, UsageRecord

ORGANISATION = "0190aaaa-0000-7000-8000-000000000001"


ENDPOINTS = ("sim-east", "sim-west", "sim-north")


class Traffic:
    """Made-up requests of one proxy: ``keys`` keys over ``routes`` routes and ``targets`` targets.

    features: so many for each key; 0 makes it one of seven that follows from the key. documents: the share of requests
    that carry tags and metadata.
    """

    def __init__(
        self,
        boot_id: str,
        *,
        seed: int = 1,
        keys: int = 50,
        routes: int = 5,
        targets: int = 2,
        features: int = 0,
        documents: float = 1.0,
        leases: tuple[int, ...] = (),
    ) -> None:
        self.boot_id = boot_id
        self._endpoints = ENDPOINTS[:targets]
        self._features = features
        self._documents = documents
        self._random = random.Random(seed)
        self._keys = [str(UUID(int=self._random.getrandbits(128))) for _ in range(keys)]
        self._routes = [f"route-{n}" for n in range(routes)]
        self._leases = leases

    def pair(self, *, started_us: int | None = None) -> tuple[OpenRecord, UsageRecord]:
        """The open and the full record of one request with one attempt."""
        r = self._random
        now = time.time_ns() // 1000 if started_us is None else started_us
        request = uuid7_bytes(now // 1000)
        number = r.randrange(len(self._keys))
        key = self._keys[number]
        route = r.choice(self._routes)
        endpoint = r.choice(self._endpoints)
        feature = r.randrange(self._features) if self._features else number % 7
        documents = r.random() < self._documents
        tokens = Tokens(
            input=r.randrange(1, 4000), output=r.randrange(1, 800), cache_read=r.randrange(0, 100), reasoning=r.randrange(0, 50)
        )
        cost = tokens.input * 150 + tokens.output * 600
        charges = [Charge(lease, cost * 2) for lease in self._leases]
        total = r.randrange(1000, 9_000_000)
        names = {"key_id": key, "route": route, "organisation": ORGANISATION, "kind": "chat", "requested_model": route, "stream": True}
        who = {"feature": f"feature-{feature}", "team": "team-1", "service": f"service-{number % 20}", "user": "someone@example.org"}
        opened = OpenRecord(
            id=request,
            started_us=now,
            provider="simulated",
            endpoint=endpoint,
            model="sim-large",
            simulated=True,
            price_version="2026-01-01",
            charges=charges,
            reserved_nano=cost * 2,
            config_version=7,
            **names,
            **who,
        )
        attempt = Attempt(
            provider="simulated",
            endpoint=endpoint,
            model="sim-large",
            region="eu-west",
            simulated=True,
            status=200,
            sent_us=180,
            first_byte_us=40_000,
            ended_us=total,
            tokens=tokens,
            cost_nano=cost,
            price_version="2026-01-01",
            charges=charges,
            upstream_request_id="req_0123456789abcdef",
        )
        record = UsageRecord(
            id=request,
            started_us=now,
            outcome="ok",
            status=200,
            tags=["blue", "batch"] if documents else [],
            metadata={"session": "s-123", "tier": "gold"} if documents else {},
            simulated=True,
            config_version=7,
            input_hash="0f" * 16,
            attempts=[attempt],
            tokens=tokens,
            cost_nano=cost,
            first_token_us=41_000,
            total_us=total,
            upstream_us=total - 400,
            bytes_in=2_300,
            bytes_out=9_100,
            proxy=self.boot_id,
            **names,
            **who,
        )
        return opened, record

    @staticmethod
    def boot() -> str:
        return str(uuid7())
