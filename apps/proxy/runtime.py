"""Fragments in, one immutable ``Runtime`` out. Whatever can be decided at publish time is decided here, once:

which budgets a key falls under, which address and headers a target has, which chain a flagged route uses, which price
versions a target knows. The control plane runs this same code before it publishes: what does not compile is not published.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

import msgspec

from apps.contracts.snapshot import (
    SECTIONS,
    BudgetFragment,
    CredentialFragment,
    Endpoint,
    FlagFragment,
    Fragment,
    KeyFragment,
    PriceFragment,
    ProviderFragment,
    RouteFragment,
    Target,
)
from apps.proxy.context import family_bytes_per_token
from apps.proxy.dialects import DIALECTS, Dialect
from apps.proxy.pricing import Price, PriceError, compile_price
from apps.proxy.resilience import CompiledResilience, CompileError, check_resilience, check_target
from apps.proxy.strategies import STRATEGIES

if TYPE_CHECKING:
    from apps.proxy.records import Templates
    from apps.proxy.retries import RetryBudget
    from apps.proxy.slots import Slots
    from apps.proxy.state import TargetState

__all__ = ["CompileError", "Runtime", "compile_config"]

Fragments = Mapping[str, Mapping[str, Fragment]]
Unseal = Callable[[str], bytes]

MAX_ATTEMPTS = 8
"""Attempts per request that the journal reserves room for."""
PRIORITIES = {"high": 0, "normal": 1, "low": 2}
"""Of keys, as numbers: lower ones are served first and shed last."""
_HEADER_SAFE = re.compile(rb"^[\x21-\x7e]+$")


class Origin(NamedTuple):
    """Where connections go; one pool each."""

    scheme: str
    host: str
    port: int
    verify_tls: bool
    ca_file: str | None
    max_connections: int
    allow_private: bool


class CompiledPrices:
    """A target's price versions by validity. ``at`` costs one comparison while one version is in force."""

    __slots__ = ("_current", "_from", "_to", "_versions")

    def __init__(self, fragment: PriceFragment) -> None:
        try:
            rows = [(v.valid_from_ms, v.valid_to_ms if v.valid_to_ms is not None else 1 << 62, compile_price(v)) for v in fragment.versions]
        except PriceError as error:
            raise CompileError("prices", fragment.id, "versions", str(error)) from None
        self._versions = sorted(rows, key=lambda row: row[0])
        self._from, self._to = 1, 0
        self._current: Price | None = None

    def at(self, now_ms: int) -> Price | None:
        if self._from <= now_ms < self._to:
            return self._current
        for start, end, price in reversed(self._versions):
            if start <= now_ms < end:
                newer = [s for s, _, _ in self._versions if s > start]
                self._from, self._to, self._current = start, min([end, *newer]), price
                return price
        return None


class CompiledTarget:
    """One place that a route can send a request to, with everything about it rendered. Routes share what is heavy, not the object."""

    __slots__ = (
        "bytes_per_token",
        "capabilities",
        "dialect",
        "endpoint",
        "expensive",
        "key",
        "killed",
        "label",
        "max_concurrency",
        "model",
        "origin",
        "prefill",
        "prices",
        "priority",
        "provider",
        "provider_kind",
        "rank",
        "reasoning",
        "region",
        "request_heads",
        "simulated",
        "state",
        "variant",
        "weight",
        "window",
    )

    state: TargetState
    """What this process has learned of it: set before the config is served."""
    rank: tuple[int, ...]
    """By the route's strategy: lower ones always first."""

    def __init__(
        self,
        target: Target,
        provider: ProviderFragment,
        endpoint: Endpoint,
        secret: bytes | None,
        prices: CompiledPrices | None,
        killed: str,
    ) -> None:
        parts = urlsplit(endpoint.base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        self.origin = Origin(
            parts.scheme, host, port, endpoint.verify_tls, endpoint.ca_file, endpoint.max_connections, provider.allow_private_addresses
        )
        self.provider = provider.name
        self.provider_kind = provider.kind
        self.endpoint = endpoint.name
        self.region = endpoint.region
        self.model = target.model
        self.simulated = provider.simulated
        self.killed = killed
        """Why this target is out, by flag or by its provider being disabled; empty when it is in."""
        self.label = f"{provider.name}/{endpoint.name}/{target.model}"
        self.key = f"{provider.organisation}/{self.label}" if provider.organisation else self.label
        """Names it in this process and to other proxies: a provider's name is unique only in its organisation."""
        self.prices = prices
        self.dialect: Dialect = DIALECTS[provider.kind]
        default_port = parts.port is None or (parts.scheme, parts.port) in (("https", 443), ("http", 80))
        shown = f"[{host}]" if ":" in host else host
        self.request_heads = self.dialect.request_heads(
            base_path=parts.path.rstrip("/"), host=(shown if default_port else f"{shown}:{port}").encode(), secret=secret
        )
        self.bytes_per_token = family_bytes_per_token(target.model)
        """Estimated, until the target's health has measured it."""
        self._take(target)

    def with_options(self, target: Target, strategy: str, home: str) -> CompiledTarget:
        """The same place with one route's options. Raises nothing: they are checked before."""
        found = copy.copy(self)
        found._take(target)
        found.rank = STRATEGIES[strategy].rank(found, home)
        return found

    def _take(self, target: Target) -> None:
        self.weight = target.weight
        self.priority = target.priority
        self.window = target.window
        self.max_concurrency = target.max_concurrency
        self.prefill = target.prefill
        self.reasoning = target.reasoning
        self.expensive = target.expensive
        self.variant = target.variant
        self.capabilities = None if target.capabilities is None else frozenset(target.capabilities)


class CompiledRoute:
    """What an app names as ``model``."""

    __slots__ = (
        "aliases",
        "arrange",
        "connect",
        "every_target",
        "first_byte",
        "flags",
        "forced",
        "id",
        "idle",
        "live",
        "max_attempts",
        "max_output",
        "name",
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
        "unpriced_is_zero",
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
        self.quick = bool(self.live) and settings.level != "limited" and all(t.capabilities is None for t in self.live)
        """While no target is in trouble, ``live`` is the plan of every request that fits ``roomy``; arranged, where the strategy does."""
        self.flags = flags
        self.stopped = stopped
        """(code, message) when the route takes no requests."""
        deadlines = fragment.deadlines
        self.connect = deadlines.connect_ms / 1000
        self.first_byte = deadlines.first_byte_ms / 1000
        self.idle = deadlines.idle_ms / 1000
        self.total = deadlines.total_ms / 1000
        self.max_output = fragment.max_output_tokens
        if settings.level == "limited":
            self.max_output = min(self.max_output, settings.limited_max_output)
        self.max_attempts = fragment.max_attempts
        self.unpriced_is_zero = fragment.unpriced == "zero"
        self.slots = None
        self.templates: dict[tuple[object, ...], Templates] = {}
        """Records with what is known beforehand (see ``apps.proxy.records``)."""
        self.reply_heads: dict[str, bytes] = {}
        """Rendered constant reply headers by target label; filled at first use, lives as long as this config."""


class CompiledKey:
    """A virtual key with what it may do and what it pays from."""

    __slots__ = (
        "allowed",
        "budgets",
        "environment",
        "expired_message",
        "expires_at_ms",
        "explain",
        "feature",
        "id",
        "name",
        "organisation",
        "priority",
        "refused",
        "service",
        "tags",
        "team",
    )

    def __init__(
        self, fragment: KeyFragment, budgets: tuple[str, ...], refused: tuple[str, str] | None, *, replaced_at_ms: int | None = None
    ) -> None:
        """``replaced_at_ms``: until when this key is opened by a token that was replaced; None for its present tokens."""
        self.id = fragment.id
        self.name = fragment.name
        self.organisation = fragment.organisation
        self.refused = refused
        """(code, message) when the key opens nothing; expiry is checked per request."""
        self.expires_at_ms = fragment.expires_at_ms
        self.expired_message = f"The key {fragment.name!r} has expired. Ask its owner for a new one."
        if replaced_at_ms is not None and (self.expires_at_ms is None or replaced_at_ms < self.expires_at_ms):
            self.expires_at_ms = replaced_at_ms
            self.expired_message = f"This secret of the key {fragment.name!r} was replaced. Ask its owner for the new one."
        self.environment = fragment.environment
        self.feature = fragment.feature
        self.tags = list(fragment.tags)
        self.allowed: frozenset[str] | None = None if "*" in fragment.routes else frozenset(fragment.routes)
        self.budgets = budgets
        self.team = fragment.team
        self.service = fragment.service
        self.explain = fragment.explain
        self.priority = PRIORITIES[fragment.priority]


class Runtime:
    """One config version, compiled. Never changed after it is built; a request keeps the one it started with."""

    __slots__ = ("fragments", "good_until_ms", "keys", "tables", "version", "wildcards")

    def __init__(
        self, version: int, fragments: Fragments, keys: dict[bytes, CompiledKey], tables: dict[str, dict[str, CompiledRoute]]
    ) -> None:
        self.version = version
        self.fragments = fragments
        self.keys = keys
        """By HMAC digest of the token."""
        self.tables = tables
        """Organisation id -> route name or alias, wildcards included -> route."""
        self.wildcards = _wildcards(tables)
        """Organisation id -> (what a name must begin with, route), the longest first."""
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


def compile_config(
    fragments: Fragments,
    *,
    version: int,
    unseal: Unseal | None = None,
    previous: Runtime | None = None,
    changed: Mapping[str, frozenset[str] | set[str]] | None = None,
    now_ms: int = 0,
) -> Runtime:
    """The Runtime of a complete config. Raises CompileError.

    unseal: opens a credential; None (in the control plane) checks everything but the secrets.
    previous, changed: what was compiled before and which ids differ by section; sections whose inputs did not change are taken over.
    now_ms: flags, routes' switches and forced breakers that ran out by then are off; 0 takes each as it says.
    """
    full: dict[str, Mapping[str, Fragment]] = {name: fragments.get(name, {}) for name in SECTIONS}
    full["flags"] = {
        id: flag
        for id, flag in full["flags"].items()
        if not isinstance(flag, FlagFragment) or flag.until_ms is None or flag.until_ms > now_ms or not flag.on
    }
    ended = {
        id: without
        for id, route in full["routes"].items()
        if isinstance(route, RouteFragment) and (without := _without_ended(route, now_ms))
    }
    if ended:
        full["routes"] = {**full["routes"], **ended}
    if previous is None or changed is None:
        return Runtime(version, full, _compile_keys(full), _compile_tables(full, unseal))
    touched = {section for section, ids in changed.items() if ids}
    flags_touch_keys = any(
        isinstance(flag := source.get(id), FlagFragment) and flag.subject == "key"
        for id in changed.get("flags", ())
        for source in (full["flags"], previous.fragments.get("flags", {}))
    )
    keys, tables = previous.keys, previous.tables
    if "budgets" in touched or flags_touch_keys:
        keys = _compile_keys(full)
    elif "keys" in touched:
        keys = _recompile_keys(full, previous, changed["keys"])
    if touched & {"providers", "credentials", "prices", "routes", "flags"}:
        tables = _compile_tables(full, unseal)
    return Runtime(version, full, keys, tables)


def _without_ended(route: RouteFragment, now_ms: int) -> RouteFragment | None:
    """The route without what has run out by ``now_ms``; None where nothing has."""
    switch = route.switch
    ended = switch is not None and switch.until_ms is not None and switch.until_ms <= now_ms
    forced = [held for held in route.forced if held.until_ms is None or held.until_ms > now_ms] if route.forced else route.forced
    if not ended and len(forced) == len(route.forced):
        return None
    return msgspec.structs.replace(route, switch=None if ended else switch, forced=forced)


def _flags_on(full: Mapping[str, Mapping[str, Fragment]], kind: str, subject: str) -> dict[str, str]:
    """Subject id -> flag name, for the flags of a kind that are on."""
    flags = cast(Mapping[str, FlagFragment], full["flags"])
    return {f.subject_id: f.name for f in flags.values() if f.on and f.kind == kind and f.subject == subject}


def _budgets_by_scope(full: Mapping[str, Mapping[str, Fragment]]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for budget in cast(Mapping[str, BudgetFragment], full["budgets"]).values():
        if budget.limit_nano < 0:
            raise CompileError("budgets", budget.id, "limit_nano", "a limit cannot be negative")
        if budget.hard:
            found.setdefault((budget.scope, budget.scope_id), []).append(budget.id)
    return found


def _compile_key(key: KeyFragment, scopes: dict[tuple[str, str], list[str]], killed: dict[str, str]) -> dict[bytes, CompiledKey]:
    """By the digest of each token that opens it."""
    refused: tuple[str, str] | None = None
    if key.state == "revoked":
        refused = ("key_revoked", f"The key {key.public_id or key.name} was revoked. Ask its owner for a new one.")
    elif not key.enabled:
        refused = ("key_disabled", f"The key {key.public_id or key.name} is disabled. Ask its owner to enable it.")
    elif key.id in killed:
        refused = ("key_killed", f"The key {key.public_id or key.name} is stopped by the kill switch {killed[key.id]!r}.")
    budgets = sorted(scopes.get(("organisation", key.organisation), []) + scopes.get(("key", key.id), []))
    present = CompiledKey(key, tuple(budgets), refused)
    compiled: dict[bytes, CompiledKey] = {}
    for text in key.digests:
        until = key.digests_until_ms.get(text)
        try:
            digest = bytes.fromhex(text)
        except ValueError:
            raise CompileError("keys", key.id, "digests", "not hexadecimal") from None
        compiled[digest] = present if until is None else CompiledKey(key, tuple(budgets), refused, replaced_at_ms=until)
    return compiled


def _compile_keys(full: Mapping[str, Mapping[str, Fragment]]) -> dict[bytes, CompiledKey]:
    scopes, killed = _budgets_by_scope(full), _flags_on(full, "kill", "key")
    keys: dict[bytes, CompiledKey] = {}
    for key in cast(Mapping[str, KeyFragment], full["keys"]).values():
        for digest, compiled in _compile_key(key, scopes, killed).items():
            if digest in keys:
                raise CompileError("keys", key.id, "digests", f"the same token opens the key {keys[digest].name!r}")
            keys[digest] = compiled
    return keys


def _recompile_keys(
    full: Mapping[str, Mapping[str, Fragment]], previous: Runtime, ids: frozenset[str] | set[str]
) -> dict[bytes, CompiledKey]:
    """The previous keys with a few replaced: 10,000 keys are not compiled because one changed."""
    scopes, killed = _budgets_by_scope(full), _flags_on(full, "kill", "key")
    keys = dict(previous.keys)
    for id in ids:
        old = previous.fragments.get("keys", {}).get(id)
        if isinstance(old, KeyFragment):
            for text in old.digests:
                keys.pop(bytes.fromhex(text), None)
    for id in ids:
        new = full["keys"].get(id)
        if isinstance(new, KeyFragment):
            for digest, compiled in _compile_key(new, scopes, killed).items():
                if digest in keys:
                    raise CompileError("keys", id, "digests", f"the same token opens the key {keys[digest].name!r}")
                keys[digest] = compiled
    return keys


class _Targets:
    """Compiles targets once, however many routes share them."""

    def __init__(self, full: Mapping[str, Mapping[str, Fragment]], unseal: Unseal | None) -> None:
        self._full = full
        self._unseal = unseal
        self._providers = {(p.organisation, p.name): p for p in cast(Mapping[str, ProviderFragment], full["providers"]).values()}
        self._killed = _flags_on(full, "kill", "provider")
        self._prices: dict[str, CompiledPrices] = {}
        self._done: dict[tuple[str, str, str], CompiledTarget] = {}
        self._secrets: dict[str, bytes] = {}

    def compile(self, route: RouteFragment, field: str, target: Target) -> CompiledTarget:
        provider = self._providers.get((route.organisation, target.provider)) or self._providers.get(("", target.provider))
        if provider is None:
            raise CompileError("routes", route.id, field, f"there is no provider {target.provider!r} in this organisation")
        if provider.kind not in DIALECTS:
            raise CompileError("providers", provider.id, "kind", f"{provider.kind!r} is unknown: one of {', '.join(sorted(DIALECTS))}")
        if not provider.endpoints:
            raise CompileError("providers", provider.id, "endpoints", "a provider needs at least one endpoint")
        endpoint = next((e for e in provider.endpoints if e.name == target.endpoint), None) if target.endpoint else provider.endpoints[0]
        if endpoint is None:
            names = ", ".join(e.name for e in provider.endpoints)
            raise CompileError("routes", route.id, field, f"{target.provider!r} has no endpoint {target.endpoint!r}: it has {names}")
        if not target.model or any(ord(c) < 32 for c in target.model):
            raise CompileError("routes", route.id, field, "a target needs the model's name at the provider, without control characters")
        check_target(route, field, target)
        cache_key = (provider.id, endpoint.name, target.model)
        found = self._done.get(cache_key)
        if found is None:
            parts = urlsplit(endpoint.base_url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
                raise CompileError(
                    "providers", provider.id, "base_url", f"{endpoint.base_url!r} is not an http(s) address without query and user"
                )
            if not re.fullmatch(r"[\x21-\x7e]*", endpoint.base_url):
                raise CompileError("providers", provider.id, "base_url", "only printable ASCII, percent-encode the rest")
            killed = "its provider is disabled" if not provider.enabled else ""
            if provider.id in self._killed:
                killed = f"its provider is stopped by the kill switch {self._killed[provider.id]!r}"
            found = CompiledTarget(
                target, provider, endpoint, self._secret(provider, endpoint), self._price(provider, target.model), killed
            )
            self._done[cache_key] = found
        strategy = route.resilience.strategy if route.switch is None else "priority"
        return found.with_options(target, strategy, route.resilience.region)

    def _price(self, provider: ProviderFragment, model: str) -> CompiledPrices | None:
        for price_id in (f"{provider.id}/{model}", f"{provider.name}/{model}"):
            fragment = self._full["prices"].get(price_id)
            if isinstance(fragment, PriceFragment):
                if price_id not in self._prices:
                    self._prices[price_id] = CompiledPrices(fragment)
                return self._prices[price_id]
        return None

    def _secret(self, provider: ProviderFragment, endpoint: Endpoint) -> bytes | None:
        if endpoint.credential is None:
            return None
        fragment = self._full["credentials"].get(endpoint.credential)
        if not isinstance(fragment, CredentialFragment):
            raise CompileError("providers", provider.id, f"endpoints.{endpoint.name}.credential", "the credential does not exist")
        if self._unseal is None:
            return b"checked-by-the-proxy"
        if fragment.id not in self._secrets:
            try:
                secret = self._unseal(fragment.sealed)
            except Exception:
                raise CompileError("credentials", fragment.id, "sealed", "cannot be opened with this proxy's BULKHEAD_SEAL_KEY") from None
            if not _HEADER_SAFE.match(secret):
                raise CompileError("credentials", fragment.id, "sealed", "holds characters that no header may carry")
            self._secrets[fragment.id] = secret
        return self._secrets[fragment.id]


def _compile_tables(full: Mapping[str, Mapping[str, Fragment]], unseal: Unseal | None) -> dict[str, dict[str, CompiledRoute]]:
    targets = _Targets(full, unseal)
    fallbacks, kills = _flags_on(full, "fallback", "route"), _flags_on(full, "kill", "route")
    tables: dict[str, dict[str, CompiledRoute]] = {}
    for route in cast(Mapping[str, RouteFragment], full["routes"]).values():
        if not route.targets:
            raise CompileError("routes", route.id, "targets", "a route needs at least one target")
        _check_names(route)
        _check_deadlines(route)
        check_resilience(route)
        primary = tuple(targets.compile(route, f"targets[{i}]", t) for i, t in enumerate(route.targets))
        alternative = tuple(targets.compile(route, f"fallback[{i}]", t) for i, t in enumerate(route.fallback))
        flags: tuple[str, ...] = ()
        chosen, stopped = primary, None
        if route.id in fallbacks and alternative:
            chosen, flags = alternative, (fallbacks[route.id],)
        if route.switch is not None:
            only = targets.compile(route, "switch.target", route.switch.target)
            only = next((target for target in primary + alternative if target.label == only.label), only)  # with the options it has there
            chosen = (only, *(target for target in chosen if target.label != only.label)) if route.switch.failover else (only,)
            flags = (*flags, f"switched to {only.provider}"[:200])
        if route.id in kills:
            stopped = ("route_killed", f"The route {route.name!r} is stopped by the kill switch {kills[route.id]!r}.")
            flags = (*flags, kills[route.id])
        elif not route.enabled:
            stopped = ("route_disabled", f"The route {route.name!r} is disabled.")
        elif route.resilience.level in ("cached", "minimal"):
            level = route.resilience.level
            without = " There is no stored answer, so it behaves as 'minimal'." if level == "cached" else ""
            stopped = ("degraded", f"The route {route.name!r} is degraded to {level!r} and calls no provider.{without} Try again later.")
        home = route.resilience.region
        if route.resilience.strategy == "region" and all(target.region != home for target in primary + alternative):
            regions = ", ".join(sorted({target.region or "(none)" for target in primary + alternative}))
            raise CompileError("routes", route.id, "resilience.region", f"no target is in the region {home!r}: they are in {regions}")
        mirror = None
        if route.resilience.mirror is not None:
            mirror = targets.compile(route, "resilience.mirror.target", route.resilience.mirror.target)
            if any(target.label == mirror.label for target in primary + alternative):
                message = f"{mirror.label} is a target of the route itself: mirror to another one, or take it out of the targets"
                raise CompileError("routes", route.id, "resilience.mirror.target", message)
        forced: dict[str, str] = {}
        for i, held in enumerate(route.forced):
            key = targets.compile(route, f"forced[{i}].target", held.target).key
            forced[key] = "open" if "open" in (held.state, forced.get(key)) else held.state
        compiled = CompiledRoute(route, chosen, flags, stopped, mirror, forced)
        table = tables.setdefault(route.organisation, {})
        for name in (route.name, *route.aliases):
            if name in table:
                raise CompileError("routes", route.id, "name", f"{name!r} is already the name or alias of the route {table[name].name!r}")
            table[name] = compiled
    return tables


def _check_names(route: RouteFragment) -> None:
    for field, name in (("name", route.name), *((f"aliases[{at}]", alias) for at, alias in enumerate(route.aliases))):
        if "*" in name[:-1]:
            raise CompileError("routes", route.id, field, f"{name!r}: a wildcard is one * at the end, as in 'gpt-4*'")


def _check_deadlines(route: RouteFragment) -> None:
    for name in ("connect_ms", "first_byte_ms", "idle_ms", "total_ms"):
        value: Any = getattr(route.deadlines, name)
        if value <= 0:
            raise CompileError("routes", route.id, f"deadlines.{name}", "must be above zero")
    if route.max_output_tokens <= 0:
        raise CompileError("routes", route.id, "max_output_tokens", "must be above zero")
    if not 1 <= route.max_attempts <= MAX_ATTEMPTS:
        raise CompileError("routes", route.id, "max_attempts", f"must be 1 to {MAX_ATTEMPTS}")
