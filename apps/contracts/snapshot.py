"""Config as the proxies see it: sections of fragments, one fragment per object.

The control plane builds fragments from rows (each app's ``snapshot.py``), publishes them under a
version number, and ships deltas; the proxy compiles them into a ``Runtime``. A fragment is flat
and self-contained: whatever spans objects (which budgets a key falls under, which price a target
has) is resolved by the compiler, so that one change ships one fragment.

Wire form: JSON of one fragment (msgspec), tagged by its section. Unknown fields are ignored, so that an
older proxy reads a newer control plane; missing ones take the defaults written here.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from apps.contracts.limits import LimitKind, LimitScope
from apps.contracts.model_facts import CAPABILITIES as CAPABILITIES
from apps.contracts.model_facts import ModelFacts

Environment = Literal["production", "staging", "development"]


class Fragment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One object of one section. ``id`` is unique in its section and never reused."""

    id: str


class PooledCredential(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of several credentials of an endpoint, with limits of its own; None: no limit.

    id: of a CredentialFragment. name: what people call it. concurrent_requests: at once, over all proxies, like the others.
    """

    id: str
    name: str = ""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One regional address of a provider.

    base_url: with the API's version path and no trailing slash, ``https://api.openai.com/v1``.
    credential: id of a CredentialFragment, or None where the upstream asks for none.
    ca_file: PEM bundle to verify against instead of the system's, None for the system's.
    credentials: a pool that is used in turn, ``credential`` among them; empty where there is only that one, without limits.
    api_version: what Azure's older API wants in its query; empty for all others.
    """

    name: str
    base_url: str
    region: str = ""
    credential: str | None = None
    max_connections: int = 4096
    verify_tls: bool = True
    ca_file: str | None = None
    credentials: list[PooledCredential] = []
    api_version: str = ""


class ProviderFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """An upstream: its wire format (``kind`` names the dialect) and its endpoints.

    allow_private_addresses: proxies may connect to loopback, private and other special addresses (``apps.contracts.addresses``).
    A snapshot without the field was made before there was a switch: nobody has allowed it.
    """

    name: str
    kind: str
    endpoints: list[Endpoint]
    organisation: str = ""
    simulated: bool = False
    enabled: bool = True
    allow_private_addresses: bool = False


class CredentialFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """A provider's secret, sealed to the proxies' key (Fernet token); never the master key."""

    sealed: str


class PriceTier(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Prices that replace the base ones for the whole request from ``from_input_tokens`` on.

    None keeps the base price of that kind. Unit: nano-dollars per million tokens.
    """

    from_input_tokens: int
    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None


class OffPeak(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A time of every day at which a price is lower: ``[from_minute, to_minute)``, minutes of the UTC day; over midnight where
    ``to_minute`` is not the later one. discount: hundredths of a percent off every kind."""

    from_minute: int
    to_minute: int
    discount: int


class PriceVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model costs during ``[valid_from_ms, valid_to_ms)``, milliseconds since the epoch.

    Unit: nano-dollars per million tokens; ``request``: nano-dollars per million requests. None: cache_read, cache_write,
    audio_input and image_input cost as input; reasoning, audio_output and image_output as output.
    region: of the endpoints it holds at; empty: everywhere that no price of the region itself is in force.
    batch_discount: hundredths of a percent off every kind, for answers that the provider says it gave as batch work.
    """

    version: str
    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    request: int = 0
    tiers: list[PriceTier] = []
    region: str = ""
    batch_discount: int = 0
    off_peak: list[OffPeak] = []
    valid_from_ms: int = 0
    valid_to_ms: int | None = None


class PriceFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """The price book's page of one provider's model; ``id`` is ``<provider id>/<model>`` (a provider's name is unique
    only in its organisation).

    like: id of the page that prices it while none of its own versions is in force; empty: none does.
    """

    provider: str
    model: str
    versions: list[PriceVersion]
    like: str = ""


class DiscountFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """What was negotiated with a provider: hundredths of a percent off every price of ``model``, empty: of all its models that have no
    discount of their own at the time. provider: its id. Holds during ``[valid_from_ms, valid_to_ms)``, milliseconds since the epoch."""

    organisation: str
    provider: str
    model: str = ""
    discount: int
    valid_from_ms: int = 0
    valid_to_ms: int | None = None


class ModelFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one provider's model; ``id`` is ``<provider id>/<model>``, as in the price book.

    known: from packages and from the provider's own list. own: what a person said, which wins (``facts_over``).
    """

    provider: str
    model: str
    known: ModelFacts = ModelFacts()
    own: ModelFacts = ModelFacts()


class UnitPriceFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """What one unit costs that is no token, at a provider's model: nano-dollars per million of them, while
    ``[valid_from_ms, valid_to_ms)``, milliseconds since the epoch. provider: its id.

    unit: of ``apps.contracts.metering.UNITS``. quality, size: of images (``hd``, ``1024x1024``), empty for all that have no own price.
    """

    organisation: str
    provider: str
    model: str
    unit: str
    amount: int
    quality: str = ""
    size: str = ""
    valid_from_ms: int = 0
    valid_to_ms: int | None = None


class Deadlines(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Milliseconds. first_byte binds streams only; JSON answers are bound by total."""

    connect_ms: int = 2_000
    first_byte_ms: int = 6_000
    idle_ms: int = 30_000
    total_ms: int = 120_000


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place a route can send a request: a provider's endpoint and the model's name there. ``provider`` is its name.

    weight: share among targets of one priority under the strategy ``weighted``; 0: only when all others are out.
    priority: lower numbers first, under every strategy. window: the model's context in tokens, 0: as the model's facts say.
    max_concurrency: requests at once from one proxy process, 0: no cap. prefill: continues an answer that a last assistant message begins.
    reasoning: thinks before its first token, so the route's ``reasoning_first_byte_ms`` binds it.
    expensive: left out when the route is degraded to ``limited``. variant: name under which its share of a split is reported.
    capabilities: of ``CAPABILITIES``, what the model can do (``target_facts`` says what a list leaves out); None: as its facts say, and
    what is not known is not assumed.
    connect_ms, first_byte_ms, first_token_ms, idle_ms: its own deadlines, 0: the route's. total_ms: the longest that one attempt here
    may take, JSON answers included, so that time is left for another target; 0: as long as the request may.
    """

    provider: str
    model: str
    endpoint: str = ""
    """Name of the endpoint; empty: the provider's first."""
    weight: int = 100
    priority: int = 0
    window: int = 0
    max_concurrency: int = 0
    prefill: bool = False
    reasoning: bool = False
    expensive: bool = False
    variant: str = ""
    capabilities: tuple[str, ...] | None = None
    connect_ms: int = 0
    first_byte_ms: int = 0
    first_token_ms: int = 0
    idle_ms: int = 0
    total_ms: int = 0


class Switch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of a route's traffic sent to one target, whatever its chains say.

    failover: the route's other targets follow it when it fails. until_ms: when it ends by itself, milliseconds since the epoch.
    """

    target: Target
    failover: bool = True
    until_ms: int | None = None


class ForcedBreaker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A target's circuit breaker held by a person, in every proxy and for every route that uses the target.

    state: ``open`` sends it nothing, ``closed`` sends it requests whatever its failures. until_ms: when that ends by itself,
    milliseconds since the epoch. Where two routes disagree about one target, ``open`` wins.
    """

    target: Target
    state: Literal["open", "closed"]
    until_ms: int | None = None


class BreakerPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a target's circuit breaker opens: ``consecutive`` failures in a row, or ``failure_percent`` of at least ``minimum`` attempts
    within ``window_ms``. It stays open for ``open_ms`` (doubled with each failed probe, to at most 60 s), then probes."""

    enabled: bool = True
    consecutive: int = 5
    failure_percent: int = 50
    minimum: int = 20
    window_ms: int = 10_000
    open_ms: int = 2_000


class Mirror(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A copy of ``percent`` of the requests goes to ``target`` too; its answers are compared, never returned."""

    target: Target
    percent: int = 100


Strategy = Literal["priority", "weighted", "least_latency", "least_cost", "region"]
Level = Literal["full", "limited", "cached", "minimal"]


class Resilience(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a route keeps answering. Durations in milliseconds; 0 means: as the field's text says.

    strategy: order among a route's healthy targets. region: this route's home region under the strategy ``region``.
    sticky: what keeps a caller on one target of a weighted split: the app's user, the header ``x-bulkhead-session``, the key, or nothing.
    first_token_ms: until real output shows, 0: as first_byte_ms. reasoning_first_byte_ms: the same for targets marked as reasoning.
    retry_budget_percent: attempts beyond the first, as a share of this process's recent requests on the route.
    max_concurrency: its requests at once in one proxy process, 0: no cap; queue_size wait for at most queue_ms, by key's priority.
    hedge_percent: share of requests that may get a second attempt when the first is late, 0: off; hedge_after_ms: how late, 0: the
    target's own p95 to the first token. rescue: where a stream that broke off may be continued.
    context: what to do with a request that does not fit a target's window. level: how far the route is degraded.
    limited_max_output: output cap at ``limited``. canned: the answer given at ``minimal``; empty: 503.
    """

    strategy: Strategy = "priority"
    region: str = ""
    sticky: Literal["", "user", "session", "key"] = ""
    first_token_ms: int = 0
    reasoning_first_byte_ms: int = 60_000
    retry_budget_percent: int = 20
    max_concurrency: int = 0
    queue_size: int = 64
    queue_ms: int = 2_000
    hedge_percent: int = 0
    hedge_after_ms: int = 0
    rescue: Literal["off", "same_model", "any"] = "same_model"
    context: Literal["off", "larger", "trim", "refuse"] = "larger"
    level: Level = "full"
    limited_max_output: int = 1_024
    canned: str = ""
    breaker: BreakerPolicy = BreakerPolicy()
    mirror: Mirror | None = None


class RouteFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """What apps name as ``model``: ordered targets, an alternative chain, deadlines, caps.

    fallback: used instead of ``targets`` while a fallback flag is on for the route.
    max_output_tokens: set on the upstream call when the app sets none; bounds the reservation.
    unpriced: what to do under a hard budget with a target that has no price.
    default_price: ``<provider>/<model>`` by names, whose price holds for targets that have none; empty: as ``unpriced`` says.
    forced: breakers of its targets that a person holds open or closed.
    """

    name: str
    organisation: str
    aliases: list[str] = []
    targets: list[Target]
    fallback: list[Target] = []
    deadlines: Deadlines = Deadlines()
    max_output_tokens: int = 4096
    max_attempts: int = 3
    unpriced: Literal["refuse", "zero"] = "refuse"
    enabled: bool = True
    switch: Switch | None = None
    resilience: Resilience = Resilience()
    forced: list[ForcedBreaker] = []
    default_price: str = ""


class KeyFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """A virtual key. ``digests``: hex HMACs of every token that opens it.

    A revoked key stays as a tombstone so that it is refused as revoked, not as unknown.
    routes: names the key may use; ``["*"]`` means all of its organisation.
    enabled: a disabled key is refused until it is enabled again.
    priority: who is served first where requests wait, and shed last. explain: may ask for a dry run.
    digests_until_ms: of ``digests``, those and ``hashes``, those that open the key only until a moment, because the token was replaced.
    hashes: hex SHA-256 of tokens that open it too, of keys that came from a gateway that kept nothing else.
    addresses: ranges (CIDR) that it may be used from; empty: from everywhere.
    """

    name: str
    public_id: str
    organisation: str
    digests: list[str]
    state: Literal["active", "revoked"] = "active"
    expires_at_ms: int | None = None
    environment: Environment = "production"
    feature: str = ""
    tags: list[str] = []
    routes: list[str] = msgspec.field(default_factory=lambda: ["*"])
    team: str = ""
    service: str = ""
    enabled: bool = True
    digests_until_ms: dict[str, int] = {}
    priority: Literal["high", "normal", "low"] = "normal"
    explain: bool = False
    hashes: list[str] = []
    addresses: list[str] = []


BudgetScope = Literal["organisation", "team", "service", "user", "key", "route", "model", "provider", "feature", "tag"]
BudgetPeriod = Literal["day", "week", "month", "quarter"]
Relief = Literal["cheaper", "limited", "cached", "minimal"]
RELIEFS: tuple[Relief, ...] = ("cheaper", "limited", "cached", "minimal")
"""What a budget's threshold does to its scope's requests, mildest first: cheapest targets first, or a degradation level of the route."""
EACH = "*"
"""As ``scope_id`` of the scope ``user``: every user of the app has this budget for themselves."""


class BudgetAction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """From ``at_percent`` of the limit spent or held by others on, until less is: ``do``."""

    at_percent: int
    do: Relief


class BudgetFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """A budget: money that its scope may spend, or is told of, in each of its windows.

    scope_id: id of the organisation, key, route or provider; slug of the team, ``team/service`` slugs; the model's name at its provider;
    the app's user, or ``EACH``; the feature or the tag. The window is a calendar one in ``timezone``; the proxy never computes it:
    leases carry it. hard: what does not fit is refused; otherwise it is counted and passes.
    open_when_away: a soft one lets requests pass where Postgres is away and nothing is held; a hard one never does.
    actions: of the thresholds that are reached, the severest acts.
    """

    name: str
    organisation: str
    scope: BudgetScope
    scope_id: str
    window: BudgetPeriod
    timezone: str = "UTC"
    limit_nano: int
    hard: bool = True
    open_when_away: bool = True
    actions: tuple[BudgetAction, ...] = ()


FlagKind = Literal["fallback", "kill", "degrade", "release"]
FlagSubject = Literal["provider", "model", "route", "key", "feature", "team", "region", "organisation"]


class FlagFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """A switch on-call can flip.

    kind: kill stops its subject; fallback: a route uses its alternative chain; degrade: its requests make do with ``level``; release:
    apps ask for it, proxies do nothing by it. subject_id: id of the provider, route, key or organisation; the model's name at its provider,
    the feature, the team's slug or the region, by ``subject``.
    rules: for which requests it holds while it is on (``apps.contracts.flag_rules``); empty: for all.
    default: what holds where its rules cannot be decided, ``off`` or ``on``; of a release also the name of a variant.
    share: of its requests, so many percent, chosen by the request's id. simulated_only: only where every target of the route is simulated.
    acknowledged: it may leave a route without a target; whoever flipped it said so.
    """

    name: str
    organisation: str
    kind: FlagKind
    subject: FlagSubject
    subject_id: str
    on: bool = False
    reason: str = ""
    until_ms: int | None = None
    level: Level = "full"
    rules: dict[str, Any] = {}
    default: str = "off"
    share: int = 100
    simulated_only: bool = False
    acknowledged: bool = False


class LimitFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """How many requests or tokens in a while, or requests at once (``apps.contracts.limits.MEASURES``).

    scope_id: id of the organisation, key or route, slug of the team, or the model's name at its provider, by ``scope``.
    """

    name: str
    organisation: str
    scope: LimitScope | Literal["credential"]
    scope_id: str
    kind: LimitKind
    amount: int


class CaptureFragment(Fragment, frozen=True, kw_only=True, omit_defaults=True):
    """Whose requests are kept as redacted samples: a share of a route's, or the next ones of a key.

    name: for people, ``route chat``. route, key: the id of one of the two. sampled: of the route's requests, hundredths of a percent.
    left, until_ms: so many of the key's, until a moment (milliseconds since the epoch). patterns: (kind, template) of what the
    organisation wants taken out beside what always is (``apps.contracts.redaction``).
    """

    organisation: str
    name: str = ""
    route: str = ""
    key: str = ""
    sampled: int = 0
    left: int = 0
    until_ms: int = 0
    patterns: tuple[tuple[str, str], ...] = ()


SECTIONS: dict[str, type[Fragment]] = {
    "providers": ProviderFragment,
    "credentials": CredentialFragment,
    "prices": PriceFragment,
    "discounts": DiscountFragment,
    "models": ModelFragment,
    "routes": RouteFragment,
    "keys": KeyFragment,
    "budgets": BudgetFragment,
    "flags": FlagFragment,
    "limits": LimitFragment,
    "captures": CaptureFragment,
    "unit_prices": UnitPriceFragment,
}
"""Every section, in the order in which it is compiled."""

NEVER_ROLLED_BACK = frozenset({"keys", "credentials", "captures"})
"""A revoked key stays revoked, and what was captured once is not captured again, because config of another day comes back."""

_encoder = msgspec.json.Encoder(order="sorted")
_decoders: dict[str, msgspec.json.Decoder[Any]] = {name: msgspec.json.Decoder(kind) for name, kind in SECTIONS.items()}


class SnapshotError(ValueError):
    """A fragment that does not decode; the message names section, id and field."""


def encode_fragment(fragment: Fragment) -> bytes:
    """Canonical JSON: equal fragments give equal bytes."""
    return _encoder.encode(fragment)


def decode_fragment(section: str, body: bytes | str) -> Fragment:
    """The fragment of a section. Raises SnapshotError for an unknown section or a body that does not fit."""
    decoder = _decoders.get(section)
    if decoder is None:
        raise SnapshotError(f"unknown section {section!r}: this proxy is older than the control plane")
    try:
        fragment: Fragment = decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"section {section}: {error}") from error
    return fragment


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One step of a delta: the fragment's body, or None where the object is gone."""

    section: str
    id: str
    body: bytes | None


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """What leads from version ``base`` to ``version``; ``base`` 0 is the empty config."""

    base: int
    version: int
    changes: list[Change]
