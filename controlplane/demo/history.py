"""A day of generated requests, so that a first look at the pages shows something: trends, a bad half hour, spend, failures.

They are usage records of the simulated organisation like any other, stored by the code that stores the shipper's batches, and each
says that it was generated (tag ``generated``, metadata ``bulkhead.generated``). No provider was called and no budget is charged.
The same seed and the same moment give the same day.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from django.db import connection, transaction

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.contracts.usage import Attempt, Kind, Outcome, Tokens, UsageRecord
from apps.keys.models import VirtualKey
from apps.usage.selectors import any_request
from apps.usage.services import partitions_ensure, record_day, usage_settle

SEED = "bulkhead demo, a day"
TAG = "generated"
HOURS = 24
REQUESTS = 7_000
BATCH = 3_500
BAD_FROM, BAD_TO = 0.585, 0.612
"""Where in the day sim-east fails and sim-west is overrun: a bad forty minutes, seen and mostly survived."""
REJECTED = "http_400"
"""The code of a request that the provider refuses as a mistake of the app's."""
CHAT_MODEL, EMBED_MODEL = "sim-chat", "sim-embed"


@dataclass(frozen=True, slots=True)
class App:
    """One of the pretended callers: its share of the traffic, and how its requests look. ``tokens``: medians of input and output."""

    feature: str
    share: float
    kind: Kind
    stream: float
    tokens: tuple[int, int]
    users: int
    night: float
    """How much of its daytime traffic it keeps at night."""


APPS = (
    App("support-chat", 0.44, "chat", 0.95, (900, 180), 60, 0.25),
    App("search-answers", 0.22, "chat", 0.6, (1_600, 120), 120, 0.35),
    App("summaries", 0.12, "chat", 0.0, (5_200, 320), 12, 0.15),
    App("search-index", 0.16, "embeddings", 0.0, (420, 0), 1, 1.0),
    App("", 0.06, "chat", 0.3, (260, 90), 6, 0.5),
)


def history_generate(*, organisation: Organisation, key: VirtualKey, now: datetime | None = None) -> int:
    """Store the day before ``now`` where the organisation has no request yet; returns how many requests, 0 where it had some."""
    if any_request(Scope(str(organisation.pk), True)):
        return 0
    now = (now or datetime.now(UTC)).replace(second=0, microsecond=0)
    service = key.service
    records = list(
        day(
            organisation=str(organisation.pk),
            key=str(key.pk),
            team=service.team.slug if service else "",
            service=service.slug if service else "",
            now=now,
        )
    )
    with connection.cursor() as cursor:
        partitions_ensure(cursor=cursor, days=sorted({record_day(record) for record in records}))
    with transaction.atomic(), connection.cursor() as cursor:
        for at in range(0, len(records), BATCH):
            usage_settle(cursor=cursor, records=records[at : at + BATCH])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE usage_request, usage_summary")
    return len(records)


def day(*, organisation: str, key: str, team: str, service: str, now: datetime) -> Iterator[UsageRecord]:
    """The records of the day before ``now``, in the order of time."""
    rng = random.Random(SEED)
    begin, length = now.timestamp() - HOURS * 3_600, HOURS * 3_600
    moments = sorted(_moments(rng, begin, length))
    for ordinal, moment in enumerate(moments):
        app = rng.choices(APPS, [one.share * _busy(moment, one.night) for one in APPS])[0]
        yield _record(
            rng,
            app,
            ordinal=ordinal,
            started_us=int(moment * 1e6),
            bad=BAD_FROM <= (moment - begin) / length < BAD_TO,
            owner=(organisation, key, team, service),
        )


def _busy(moment: float, night: float) -> float:
    """How busy an hour is, 0..1: most around 14:00 UTC, least twelve hours later."""
    hour = moment % 86_400 / 3_600
    return night + (1 - night) * (0.5 + 0.5 * math.cos((hour - 14) / 24 * 2 * math.pi)) ** 1.6


def _moments(rng: random.Random, begin: float, length: float) -> Iterator[float]:
    made = 0
    while made < REQUESTS:
        moment = begin + rng.random() * length
        if rng.random() < 0.12 + 0.88 * _busy(moment, 0.25):
            made += 1
            yield moment


def _lognormal(rng: random.Random, median: float, spread: float) -> float:
    return median * math.exp(rng.gauss(0.0, spread))


def _record(rng: random.Random, app: App, *, ordinal: int, started_us: int, bad: bool, owner: tuple[str, str, str, str]) -> UsageRecord:
    organisation, key, team, service = owner
    chat = app.kind == "chat"
    model = CHAT_MODEL if chat else EMBED_MODEL
    stream = chat and rng.random() < app.stream
    tokens_in = max(8, round(_lognormal(rng, app.tokens[0], 0.5)))
    tokens_out = max(1, round(_lognormal(rng, app.tokens[1], 0.6))) if chat else 0
    first_us = round(_lognormal(rng, 160_000 if chat else 145_000, 0.42 if chat else 0.6) * (4.0 if bad else 1.0))
    whole_us = first_us + round(tokens_out * _lognormal(rng, 5_600, 0.2))
    outcome, status, code, step = _ending(rng, bad)
    attempts: list[Attempt] = []
    at = 350
    if outcome != "refused":
        fails = rng.random() < (0.85 if bad else 0.016)
        if code == REJECTED:
            ended = at + round(_lognormal(rng, 22_000, 0.5))
            attempts.append(_attempt("sim-east", model, outcome="error", status=400, code=code, sent=at, ended=ended))
            at = ended
        for name in () if attempts else ("sim-east", "sim-west"):
            first = name == "sim-east"
            if first and (fails or outcome == "error"):
                ended = at + round(_lognormal(rng, 22_000, 0.5))
                attempts.append(_attempt(name, model, outcome="error", status=503, code="upstream_error", sent=at, ended=ended))
                at = ended + 240
                continue
            if not first and outcome == "error":
                ended = at + round(_lognormal(rng, 30_000, 0.5))
                attempts.append(_attempt(name, model, outcome="error", status=503, code="upstream_error", sent=at, ended=ended))
                at = ended
                break
            left = rng.uniform(0.2, 0.8) if outcome == "cancelled" else 1.0
            ended = at + max(first_us + 900, round(whole_us * left))
            answer = _attempt(name, model, outcome=outcome, status=200, code="", sent=at, ended=ended)
            used = Tokens(input=tokens_in, output=max(1, round(tokens_out * left)) if chat else 0)
            answer.first_byte_us, answer.tokens, answer.cost_nano = at + first_us, used, _cost(used)
            answer.price_version = f"{model}-manual"
            attempts.append(answer)
            at = ended
            break
    used, cost = (attempts[-1].tokens, attempts[-1].cost_nano) if attempts else (Tokens(), 0)
    total_us = at + 180
    answered = bool(attempts) and attempts[-1].outcome in ("ok", "cancelled")
    return UsageRecord(
        id=_id(started_us, ordinal),
        started_us=started_us,
        organisation=organisation,
        key_id=key,
        kind=app.kind,
        route="demo-chat" if chat else "demo-embed",
        requested_model="demo-chat" if chat else "demo-embed",
        stream=stream,
        outcome=outcome,
        status=status,
        error_code=code,
        error_step=step,
        feature=app.feature,
        tags=[TAG],
        user=f"user-{rng.randrange(app.users):03d}" if app.feature and app.users > 1 else "",
        metadata={"bulkhead.generated": "an example day; no provider was called"},
        team=team,
        service=service,
        simulated=True,
        attempts=attempts,
        tokens=used,
        cost_nano=cost,
        first_token_us=attempts[-1].first_byte_us if stream and answered else -1,
        total_us=total_us,
        upstream_us=sum(attempt.ended_us - attempt.sent_us for attempt in attempts),
        bytes_in=tokens_in * 4 + 220,
        bytes_out=(used.output * (60 if stream else 5)) + 400,
    )


def _ending(rng: random.Random, bad: bool) -> tuple[Outcome, int, str, str]:
    draw = rng.random()
    if draw < (0.22 if bad else 0.003):
        # In the bad minutes every target fails; on a good day a failure is a request that makes no sense.
        return ("error", 502, "upstream_error", "") if bad else ("error", 400, REJECTED, "dispatch")
    if draw < (0.24 if bad else 0.012):
        return "cancelled", 499, "", ""
    return ("refused", 429, "budget_exceeded", "reserve") if draw > 0.9975 else ("ok", 200, "", "")


def _attempt(name: str, model: str, *, outcome: Outcome, status: int, code: str, sent: int, ended: int) -> Attempt:
    return Attempt(
        provider=name,
        endpoint="local",
        model=model,
        region=name.removeprefix("sim-"),
        simulated=True,
        outcome=outcome,
        status=status,
        error_code=code,
        sent_us=sent,
        ended_us=ended,
    )


def _cost(tokens: Tokens) -> int:
    """Nano-dollars at the simulators' default price: 150 and 600 a token."""
    return tokens.input * 150 + tokens.output * 600


def _id(started_us: int, ordinal: int) -> bytes:
    """A UUIDv7 whose random part follows from the ordinal, so that the day can be made again exactly."""
    tail = bytearray(sha256(f"{SEED} {ordinal}".encode()).digest()[:10])
    tail[0] = tail[0] & 0x0F | 0x70
    tail[2] = tail[2] & 0x3F | 0x80
    return (started_us // 1_000).to_bytes(6, "big") + bytes(tail)
