"""What requests read: one immutable ``Runtime`` of compiled keys, routes, targets and prices; ``apps.proxy.compiler`` makes it.

Everything a request asks is an attribute here, rendered beforehand: heads as bytes, durations in seconds, sets instead of lists.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import urlsplit

from apps.contracts.fleet import deployment_of
from apps.contracts.model_facts import NOTHING, ModelFacts, target_facts
from apps.contracts.snapshot import (
    SECTIONS,
    Endpoint,
    FlagFragment,
    Fragment,
    KeyFragment,
    ProviderFragment,
    RouteFragment,
    Target,
)
from apps.contracts.tariff import Tariff
from apps.contracts.tokens import SECRET_PRESENT, SECRET_REPLACED
from apps.proxy.capture_table import capture_table
from apps.proxy.context import family_bytes_per_token
from apps.proxy.dialects import DIALECTS, Dialect
from apps.proxy.dialects.openai_plain import STRICT_HOSTS
from apps.proxy.lacks import Lacks
from apps.proxy.limits_table import limit_table
from apps.proxy.relief import Reliefs
from apps.proxy.resilience import CompiledResilience
from apps.proxy.spend import Spend, spend_table
from apps.proxy.strategies import STRATEGIES

if TYPE_CHECKING:
    from apps.contracts.networks import Networks
    from apps.contracts.snapshot import Deadlines, Resilience
    from apps.proxy.assembly import RouteParts
    from apps.proxy.credentials import CredentialPool, Lending
    from apps.proxy.flagging import RouteFlags
    from apps.proxy.fleet.replicas import Deployment, Replica
    from apps.proxy.records import Templates
    from apps.proxy.retries import RetryBudget
    from apps.proxy.slots import Slots
    from apps.proxy.state import TargetState

Fragments = Mapping[str, Mapping[str, Fragment]]

MAX_ATTEMPTS = 8
"""Attempts per request that the journal reserves room for."""
PRIORITIES = {"high": 0, "normal": 1, "low": 2}
"""Of keys, as numbers: lower ones are served first and shed last."""


class Origin(NamedTuple):
    """Where connections go; one pool each."""

    scheme: str
    host: str
    port: int
    verify_tls: bool
    ca_file: str | None
    max_connections: int
    allow_private: bool


class CompiledTarget:
    """One place that a route can send a request to, with everything about it rendered. Routes share what is heavy, not the object."""

    __slots__ = (
        "berths",
        "bytes_per_token",
        "can",
        "cannot",
        "connect",
        "credentials",
        "deployment",
        "dialect",
        "endpoint",
        "expensive",
        "facts",
        "first_byte",
        "first_token",
        "idle",
        "key",
        "killed",
        "label",
        "lending",
        "max_concurrency",
        "max_output",
        "model",
        "origin",
        "prefill",
        "prices",
        "priority",
        "provider",
        "provider_id",
        "provider_kind",
        "rank",
        "reasoning",
        "region",
        "replicas",
        "request_heads",
        "route_label",
        "seat",
        "simulated",
        "state",
        "strict",
        "total",
        "translates",
        "variant",
        "weight",
        "window",
    )

    state: TargetState
    """What this process has learned of it: set before the config is served."""
    credentials: CredentialPool | None
    """Where its endpoint's credentials are more than one key that stands in ``request_heads``: set before the config is served."""
    rank: tuple[int, ...]
    """By the route's strategy: lower ones always first."""

    def __init__(
        self,
        target: Target,
        provider: ProviderFragment,
        endpoint: Endpoint,
        secret: bytes | None,
        killed: str,
        facts: ModelFacts = NOTHING,
        lending: Lending | None = None,
    ) -> None:
        parts = urlsplit(endpoint.base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        self.origin = Origin(
            parts.scheme, host, port, endpoint.verify_tls, endpoint.ca_file, endpoint.max_connections, provider.allow_private_addresses
        )
        self.provider = provider.name
        self.provider_id = provider.id
        self.provider_kind = provider.kind
        self.endpoint = endpoint.name
        self.region = endpoint.region
        self.model = target.model
        self.simulated = provider.simulated
        self.strict = host.endswith(STRICT_HOSTS)
        """Its server refuses fields that it does not know."""
        self.killed = killed
        """Why this target is out, by flag or by its provider being disabled; empty when it is in."""
        self.label = f"{provider.name}/{endpoint.name}/{target.model}"
        self.key = f"{provider.organisation}/{self.label}" if provider.organisation else self.label
        """Names it in this process and to other proxies: a provider's name is unique only in its organisation."""
        self.lending = lending
        self.credentials = None
        self.route_label = self.label
        """As its route names it: of a replica, the deployment's."""
        deployment = deployment_of(provider.name)
        self.deployment = (provider.organisation, deployment) if deployment else None
        """(organisation, name) where it stands for a deployment of our own."""
        self.replicas: Deployment | None = None
        """The deployment's, set before the config is served: attempts go to one of them (``apps.proxy.fleet.moving``)."""
        self.berths: dict[Replica, CompiledTarget] = {}
        """What it looks like at each replica that it was asked at."""
        self.seat: Replica | None = None
        """The replica that it is the place of."""
        self.prices: Tariff | None = None
        """By its route: see ``with_options``."""
        self.dialect: Dialect = DIALECTS[provider.kind]
        self.translates = self.dialect.translates
        default_port = parts.port is None or (parts.scheme, parts.port) in (("https", 443), ("http", 80))
        shown = f"[{host}]" if ":" in host else host
        self.request_heads = self.dialect.request_heads(
            base_path=parts.path.rstrip("/"),
            host=(shown if default_port else f"{shown}:{port}").encode(),
            secret=secret,
            model=target.model,
            api_version=endpoint.api_version,
        )
        self.bytes_per_token = family_bytes_per_token(target.model)
        """Estimated, until the target's health has measured it."""
        self.facts = facts
        self.max_output = facts.max_output
        """Tokens that its model gives at most, 0 where that is not known."""
        self._take(target)

    def with_options(self, target: Target, strategy: str, home: str, prices: Tariff | None) -> CompiledTarget:
        """The same place with one route's options and prices. Raises nothing: they are checked before."""
        found = copy.copy(self)
        found.berths = {}
        found.prices = prices
        found._take(target)
        found.rank = STRATEGIES[strategy].rank(found, home)
        return found

    def _take(self, target: Target) -> None:
        self.weight = target.weight
        self.priority = target.priority
        self.window = target.window or self.facts.window
        self.max_concurrency = target.max_concurrency
        self.prefill = target.prefill
        self.reasoning = target.reasoning
        self.expensive = target.expensive
        self.variant = target.variant
        self.can, self.cannot = target_facts(target.capabilities, self.facts)
        self.connect = target.connect_ms / 1000
        self.first_byte = target.first_byte_ms / 1000
        self.first_token = target.first_token_ms / 1000
        self.idle = target.idle_ms / 1000
        self.total = target.total_ms / 1000

    def bound_by(self, deadlines: Deadlines, settings: Resilience) -> None:
        """Deadlines that the target has not itself are its route's; in seconds. first_token is never sooner than first_byte."""
        self.connect = self.connect or deadlines.connect_ms / 1000
        self.first_byte = self.first_byte or (settings.reasoning_first_byte_ms if self.reasoning else deadlines.first_byte_ms) / 1000
        self.first_token = max(self.first_byte, self.first_token or settings.first_token_ms / 1000)
        self.idle = self.idle or deadlines.idle_ms / 1000
        self.total = self.total or deadlines.total_ms / 1000


class CompiledRoute:
    """What an app names as ``model``."""

    __slots__ = (
        "aliases",
        "arrange",
        "connect",
        "every_target",
        "first_byte",
        "flagging",
        "flags",
        "forced",
        "fragment",
        "id",
        "idle",
        "lacks",
        "live",
        "max_attempts",
        "max_output",
        "name",
        "parts",
        "quick",
        "reply_heads",
        "resilience",
        "retries",
        "roomy",
        "slots",
        "stopped",
        "strategy",
        "targets",
        "templates",
        "total",
    )

    retries: RetryBudget
    slots: Slots | None

    def __init__(
        self,
        fragment: RouteFragment,
        targets: tuple[CompiledTarget, ...],
        flags: tuple[str, ...],
        stopped: tuple[str, str] | None,
        mirror: CompiledTarget | None = None,
        forced: Mapping[str, str] | None = None,
    ) -> None:
        self.id = fragment.id
        self.name = fragment.name
        self.fragment = fragment
        """As flags have left it: with the level that holds."""
        self.flagging: RouteFlags | None = None
        """Flags that have to be asked for each request; None: there are none."""
        self.parts: RouteParts | None = None
        """What it was made of, for the next config; None: made for single requests."""
        self.forced = forced or {}
        """Keys of targets whose breaker a person holds, with ``open`` or ``closed``."""
        self.aliases = tuple(fragment.aliases)
        settings = self.resilience = CompiledResilience(fragment.resilience, fragment.deadlines, mirror)
        self.strategy = settings.strategy if fragment.switch is None else "priority"
        """A switch says itself who comes first."""
        self.targets = targets if fragment.switch is not None else tuple(sorted(targets, key=lambda target: target.rank))
        """In order of rank."""
        self.every_target = (*self.targets, mirror) if mirror is not None else self.targets
        cheap = [target for target in self.targets if not target.killed and not target.expensive]
        self.live = tuple(cheap) if settings.level == "limited" and cheap else tuple(t for t in self.targets if not t.killed)
        """What is left of ``targets`` by what config says: not killed and, at the level ``limited``, not expensive (if others are left)."""
        self.arrange = STRATEGIES[self.strategy].arrange if len(self.live) > 1 else None
        windows = [target.window for target in self.live if target.window]
        self.roomy = min(windows, default=1 << 62) if settings.context != "off" else 1 << 62
        """A request of up to so many tokens fits every target."""
        self.quick = bool(self.live) and settings.level != "limited"
        """While no target is in trouble, ``live`` is the plan of every request that fits ``roomy`` and asks for nothing that a target
        lacks; arranged, where the strategy does."""
        self.lacks = Lacks.of(self.live)
        self.flags = flags
        self.stopped = stopped
        """(code, message) when the route takes no requests."""
        deadlines = fragment.deadlines
        for target in self.every_target:
            target.bound_by(deadlines, fragment.resilience)
        self.connect = deadlines.connect_ms / 1000
        self.first_byte = deadlines.first_byte_ms / 1000
        self.idle = deadlines.idle_ms / 1000
        self.total = deadlines.total_ms / 1000
        self.max_output = fragment.max_output_tokens
        if settings.level == "limited":
            self.max_output = min(self.max_output, settings.limited_max_output)
        self.max_attempts = fragment.max_attempts
        self.slots = None
        self.templates: dict[tuple[object, ...], Templates] = {}
        """Records with what is known beforehand (see ``apps.proxy.records``)."""
        self.reply_heads: dict[str, bytes] = {}
        """Rendered constant reply headers by target label; filled at first use, lives as long as this config."""


class CompiledKey:
    """A virtual key with what it may do and what it pays from."""

    __slots__ = (
        "addresses",
        "allowed",
        "environment",
        "expired_message",
        "expires_at_ms",
        "explain",
        "feature",
        "id",
        "killed_by",
        "name",
        "organisation",
        "priority",
        "refused",
        "secret",
        "service",
        "spend",
        "tags",
        "team",
    )

    def __init__(
        self,
        fragment: KeyFragment,
        spend: Spend,
        refused: tuple[str, str] | None,
        *,
        replaced_at_ms: int | None = None,
        addresses: Networks | None = None,
    ) -> None:
        """``replaced_at_ms``: until when this key is opened by a token that was replaced; None for its present tokens.
        ``addresses``: where it may be used from; None: everywhere."""
        self.id = fragment.id
        self.name = fragment.name
        self.organisation = fragment.organisation
        self.refused = refused
        """(code, message) when the key opens nothing; expiry is checked per request."""
        self.killed_by = ""
        """The flag that stops it."""
        self.addresses = addresses
        self.secret = SECRET_REPLACED if replaced_at_ms is not None else SECRET_PRESENT if fragment.digests_until_ms else ""
        """Which of its secrets this is, as records say it while two of them open the key; empty where there is but one."""
        self.expires_at_ms = fragment.expires_at_ms
        self.expired_message = f"The key {fragment.name!r} has expired. Ask its owner for a new one."
        if replaced_at_ms is not None and (self.expires_at_ms is None or replaced_at_ms < self.expires_at_ms):
            self.expires_at_ms = replaced_at_ms
            self.expired_message = f"This secret of the key {fragment.name!r} was replaced. Ask its owner for the new one."
        self.environment = fragment.environment
        self.feature = fragment.feature
        self.tags = list(fragment.tags)
        self.allowed: frozenset[str] | None = None if "*" in fragment.routes else frozenset(fragment.routes)
        self.spend = spend
        """Budgets that all its requests fall under; narrower ones are the runtime's ``spending``."""
        self.team = fragment.team
        self.service = fragment.service
        self.explain = fragment.explain
        self.priority = PRIORITIES[fragment.priority]


class Runtime:
    """One config version, compiled. Never changed after it is built; a request keeps the one it started with."""

    __slots__ = ("captures", "fragments", "good_until_ms", "keys", "limits", "relief", "spending", "tables", "version", "wildcards")

    def __init__(
        self, version: int, fragments: Fragments, keys: dict[bytes, CompiledKey], tables: dict[str, dict[str, CompiledRoute]]
    ) -> None:
        self.version = version
        self.fragments = fragments
        self.keys = keys
        """By HMAC digest of the token, or by ``apps.contracts.tokens.foreign_name``."""
        self.tables = tables
        """Organisation id -> route name or alias, wildcards included -> route."""
        self.wildcards = _wildcards(tables)
        """Organisation id -> (what a name must begin with, route), the longest first."""
        self.limits = limit_table(fragments.get("limits", {}), version)
        """None: nothing is limited. Raises CompileError."""
        self.captures = capture_table(fragments.get("captures", {}))
        """None: nobody's requests are kept. Raises CompileError."""
        table = spend_table(fragments.get("budgets", {}))
        self.spending = table if table is not None and table.finer else None
        """None: no budget is for less than a key's whole traffic. Raises CompileError."""
        self.relief = Reliefs() if table is not None and table.acting else None
        """None: no budget's threshold does anything."""
        flags = cast(Mapping[str, FlagFragment], fragments.get("flags", {})).values()
        ends = [f.until_ms for f in flags if f.on and f.until_ms is not None]
        routes = cast(Mapping[str, RouteFragment], fragments.get("routes", {})).values()
        ends += [r.switch.until_ms for r in routes if r.switch is not None and r.switch.until_ms is not None]
        ends += [held.until_ms for r in routes if r.forced for held in r.forced if held.until_ms is not None]
        self.good_until_ms: int | None = min(ends, default=None)
        """When the first flag, switch or forced breaker runs out (milliseconds since the epoch): compile again then."""

    def wildcard_of(self, organisation: str, name: str) -> tuple[str, CompiledRoute | None]:
        """The wildcard with the longest prefix that ``name`` begins with (as it is written, ``gpt-4*``) and its route, for a name that is
        not in the table; the name itself and None where there is none."""
        for prefix, route in self.wildcards.get(organisation, ()):
            if name.startswith(prefix):
                return f"{prefix}*", route
        return name, None

    def routes_of(self, key: CompiledKey) -> dict[str, CompiledRoute]:
        """Every name the key may use, with its route."""
        table = self.tables.get(key.organisation, {})
        if key.allowed is None:
            return table
        return {name: route for name, route in table.items() if route.name in key.allowed or name in key.allowed}


def _wildcards(tables: dict[str, dict[str, CompiledRoute]]) -> dict[str, list[tuple[str, CompiledRoute]]]:
    found: dict[str, list[tuple[str, CompiledRoute]]] = {}
    for organisation, table in tables.items():
        wild = [(name[:-1], route) for name, route in table.items() if name.endswith("*")]
        if wild:
            found[organisation] = sorted(wild, key=lambda pair: len(pair[0]), reverse=True)
    return found


EMPTY = Runtime(0, {name: {} for name in SECTIONS}, {}, {})
