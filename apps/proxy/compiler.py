"""Fragments in, one immutable ``Runtime`` out. Whatever can be decided at publish time is decided here, once:

which budgets a key falls under, which address and headers a target has, which chain a flagged route uses, which price
versions a target knows. The control plane runs this same code before it publishes: what does not compile is not published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from apps.contracts.credentials import FORMS, Credential, CredentialError, Key, credential_read
from apps.contracts.limits import LimitKind
from apps.contracts.model_facts import NOTHING, ModelFacts, facts_over
from apps.contracts.networks import NetworkError, Networks
from apps.contracts.pricing import PriceError
from apps.contracts.snapshot import (
    SECTIONS,
    CredentialFragment,
    DiscountFragment,
    Endpoint,
    FlagFragment,
    Fragment,
    KeyFragment,
    LimitFragment,
    ModelFragment,
    PooledCredential,
    PriceFragment,
    ProviderFragment,
    RouteFragment,
    Target,
    UnitPriceFragment,
)
from apps.contracts.tariff import ZERO, Layer, PriceBook, Tariff
from apps.contracts.tokens import foreign_name_of
from apps.proxy.assembly import FlagTable, RouteParts, flags_moved, may_touch, route_with
from apps.proxy.credentials import Lending, Lent, credential_line
from apps.proxy.dialects import DIALECTS
from apps.proxy.resilience import CompileError, check_facts, check_resilience, check_target
from apps.proxy.runtime import MAX_ATTEMPTS, CompiledKey, CompiledRoute, CompiledTarget, Fragments, Runtime
from apps.proxy.spend import SpendTable

__all__ = ["CompileError", "Unseal", "compile_config"]

Unseal = Callable[[str], bytes]

_OF_TARGETS = frozenset({"providers", "credentials", "prices", "discounts", "models", "unit_prices"})
"""Sections that targets are made of, beside their routes."""
CHECKED = b"checked-by-the-proxy"
"""Instead of a secret, in the control plane."""
_HEADER_SAFE = re.compile(rb"^[\x21-\x7e]+$")


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
    full["limits"] = _with_credentials(full["limits"], full["providers"])
    flags = FlagTable(full["flags"])
    if previous is None or changed is None:
        return Runtime(version, full, _compile_keys(full, flags), _compile_tables(full, unseal, flags))
    touched = {section for section, ids in changed.items() if ids}
    flags_touch_keys = any(
        isinstance(flag := source.get(id), FlagFragment) and flag.subject == "key"
        for id in changed.get("flags", ())
        for source in (full["flags"], previous.fragments.get("flags", {}))
    )
    keys, tables = previous.keys, previous.tables
    if "budgets" in touched or flags_touch_keys:
        keys = _compile_keys(full, flags)
    elif "keys" in touched:
        keys = _recompile_keys(full, previous, changed["keys"], flags)
    if touched & (_OF_TARGETS | {"routes", "flags"}):
        same = not touched & _OF_TARGETS
        tables = _compile_tables(full, unseal, flags, previous if same else None)
    return Runtime(version, full, keys, tables)


def _without_ended(route: RouteFragment, now_ms: int) -> RouteFragment | None:
    """The route without what has run out by ``now_ms``; None where nothing has."""
    switch = route.switch
    ended = switch is not None and switch.until_ms is not None and switch.until_ms <= now_ms
    forced = [held for held in route.forced if held.until_ms is None or held.until_ms > now_ms] if route.forced else route.forced
    if not ended and len(forced) == len(route.forced):
        return None
    return msgspec.structs.replace(route, switch=None if ended else switch, forced=forced)


def _compile_key(key: KeyFragment, table: SpendTable, killed: dict[tuple[str, str], str]) -> dict[bytes, CompiledKey]:
    """By the name of each token that opens it."""
    refused: tuple[str, str] | None = None
    killed_by = ""
    if key.state == "revoked":
        refused = ("key_revoked", f"The key {key.public_id or key.name} was revoked. Ask its owner for a new one.")
    elif not key.enabled:
        refused = ("key_disabled", f"The key {key.public_id or key.name} is disabled. Ask its owner to enable it.")
    elif (key.organisation, key.id) in killed:
        killed_by = killed[key.organisation, key.id]
        refused = ("key_killed", f"The key {key.public_id or key.name} is stopped by the kill switch {killed_by!r}.")
    spend = table.of_key(key)
    try:
        addresses = Networks(key.addresses) if key.addresses else None
    except NetworkError as error:
        raise CompileError("keys", key.id, "addresses", str(error)) from None
    present = CompiledKey(key, spend, refused, addresses=addresses)
    compiled: dict[bytes, CompiledKey] = {}
    for name, text in _tokens(key):
        until = key.digests_until_ms.get(text)
        compiled[name] = present if until is None else CompiledKey(key, spend, refused, replaced_at_ms=until, addresses=addresses)
        compiled[name].killed_by = killed_by
    return compiled


def _tokens(key: KeyFragment) -> list[tuple[bytes, str]]:
    """What each token of a key is looked up by, and how the fragment writes it."""
    names: list[tuple[bytes, str]] = []
    for field, texts in (("digests", key.digests), ("hashes", key.hashes)):
        for text in texts:
            try:
                names.append((bytes.fromhex(text) if field == "digests" else foreign_name_of(text), text))
            except ValueError:
                raise CompileError("keys", key.id, field, "not hexadecimal, or not as long as such a digest is") from None
    return names


def _compile_keys(full: Mapping[str, Mapping[str, Fragment]], flags: FlagTable) -> dict[bytes, CompiledKey]:
    table, killed = SpendTable(full["budgets"]), flags.killed_keys()
    keys: dict[bytes, CompiledKey] = {}
    for key in cast(Mapping[str, KeyFragment], full["keys"]).values():
        for digest, compiled in _compile_key(key, table, killed).items():
            if digest in keys:
                raise CompileError("keys", key.id, "digests", f"the same token opens the key {keys[digest].name!r}")
            keys[digest] = compiled
    return keys


def _recompile_keys(
    full: Mapping[str, Mapping[str, Fragment]], previous: Runtime, ids: frozenset[str] | set[str], flags: FlagTable
) -> dict[bytes, CompiledKey]:
    """The previous keys with a few replaced: 10,000 keys are not compiled because one changed."""
    table, killed = SpendTable(full["budgets"]), flags.killed_keys()
    keys = dict(previous.keys)
    for id in ids:
        old = previous.fragments.get("keys", {}).get(id)
        if isinstance(old, KeyFragment):
            for name, _ in _tokens(old):
                keys.pop(name, None)
    for id in ids:
        new = full["keys"].get(id)
        if isinstance(new, KeyFragment):
            for digest, compiled in _compile_key(new, table, killed).items():
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
        discounts = cast(Mapping[str, DiscountFragment], full["discounts"]).values()
        units = cast(Mapping[str, UnitPriceFragment], full["unit_prices"]).values()
        self._book = PriceBook(self._page, list(discounts), units)
        self._tariffs: dict[tuple[str, ...], Tariff | None] = {}
        self._done: dict[tuple[str, str, str], CompiledTarget] = {}
        self._opened_before: dict[str, Credential] = {}

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
            facts = self._facts(provider, target.model)
            secret, lending = self._credentials(provider, endpoint)
            found = CompiledTarget(target, provider, endpoint, secret, killed, facts, lending)
            self._done[cache_key] = found
        strategy = route.resilience.strategy if route.switch is None else "priority"
        prices = self._tariff(route, provider, endpoint, target.model)
        return found.with_options(target, strategy, route.resilience.region, prices)

    def _tariff(self, route: RouteFragment, provider: ProviderFragment, endpoint: Endpoint, model: str) -> Tariff | None:
        """What a target of the route costs: its own prices, then the route's default, then nothing at all where the route says so."""
        own = f"{provider.id}/{model}"
        if own not in self._full["prices"] and not self._book.priced(own):
            own = f"{provider.name}/{model}"
        key = (own, endpoint.region, route.organisation, route.default_price, route.unpriced)
        if key not in self._tariffs:
            more: list[Layer] = []
            try:
                if route.default_price:
                    more += [Layer(layer.versions) for layer in self._book.layers(self._default(route), endpoint.region)]
                if route.unpriced == "zero":
                    more.append(Layer([ZERO]))
                self._tariffs[key] = self._book.tariff(own, endpoint.region, *more)
            except PriceError as error:
                raise CompileError("prices", own, "versions", str(error)) from None
            except LookupError as error:
                raise CompileError("prices", own, "like", f"{error.args[0]}: prices cannot go in a circle") from None
        return self._tariffs[key]

    def _facts(self, provider: ProviderFragment, model: str) -> ModelFacts:
        """What is known of a provider's model: what a person said over what packages and the provider's own list say."""
        found = self._full["models"].get(f"{provider.id}/{model}")
        if not isinstance(found, ModelFragment):
            return NOTHING
        if self._unseal is None:
            check_facts(found)
        return facts_over(found.own, found.known)

    def _default(self, route: RouteFragment) -> str:
        """The id of the page that the route's default price is on."""
        name, _, model = route.default_price.partition("/")
        provider = self._providers.get((route.organisation, name)) or self._providers.get(("", name))
        page = None if provider is None else self._page(f"{provider.id}/{model}")
        if provider is None or page is None:
            message = f"there is no price of {model!r} at {name!r} in the price book: add one, or name another model as the default price"
            raise CompileError("routes", route.id, "default_price", message)
        return page.id

    def _page(self, id: str) -> PriceFragment | None:
        fragment = self._full["prices"].get(id)
        return fragment if isinstance(fragment, PriceFragment) else None

    def _credentials(self, provider: ProviderFragment, endpoint: Endpoint) -> tuple[bytes | None, Lending | None]:
        """(a key that never changes, None), or (None, what is lent to each request); neither where the upstream asks for nothing."""
        pool = endpoint.credentials or ([PooledCredential(id=endpoint.credential)] if endpoint.credential is not None else [])
        if not pool:
            return None, None
        dialect = DIALECTS[provider.kind]
        found = []
        for member in pool:
            credential = self._opened(provider, endpoint, member.id)
            if credential is None:
                return CHECKED, None
            if credential.form not in dialect.forms:
                message = f"a provider of the kind {provider.kind!r} takes no {FORMS[credential.form]}"
                raise CompileError("providers", provider.id, f"endpoints.{endpoint.name}.credential", message)
            limits = tuple(_limits_of(provider, endpoint, member))
            found.append(Lent(member.id, member.name, credential, credential_line(dialect.secret_header, credential), limits))
        only = found[0]
        if len(found) == 1 and not only.limits and isinstance(only.credential, Key):
            return only.credential.text.encode("ascii"), None
        parts = urlsplit(endpoint.base_url)
        key = f"{provider.organisation}/{provider.name}/{endpoint.name}"
        return None, Lending(key, tuple(found), provider.allow_private_addresses, parts.scheme, parts.netloc)

    def _opened(self, provider: ProviderFragment, endpoint: Endpoint, id: str) -> Credential | None:
        """None in the control plane, which opens no seal."""
        fragment = self._full["credentials"].get(id)
        if not isinstance(fragment, CredentialFragment):
            raise CompileError("providers", provider.id, f"endpoints.{endpoint.name}.credential", "the credential does not exist")
        if self._unseal is None:
            return None
        if fragment.id not in self._opened_before:
            try:
                secret = self._unseal(fragment.sealed)
            except Exception:
                raise CompileError("credentials", fragment.id, "sealed", "cannot be opened with this proxy's BULKHEAD_SEAL_KEY") from None
            if not secret.startswith(b"{") and not _HEADER_SAFE.match(secret):
                raise CompileError("credentials", fragment.id, "sealed", "holds characters that no header may carry")
            try:
                self._opened_before[fragment.id] = credential_read(secret.decode())
            except (CredentialError, UnicodeDecodeError) as error:
                message = str(error) if isinstance(error, CredentialError) else "is no text"
                raise CompileError("credentials", fragment.id, "sealed", message) from None
        return self._opened_before[fragment.id]


def _limits_of(provider: ProviderFragment, endpoint: Endpoint, member: PooledCredential) -> list[LimitFragment]:
    """The limits of one credential of an endpoint, as fragments like any other's."""
    amounts: dict[LimitKind, int | None] = {
        "requests_per_minute": member.requests_per_minute,
        "tokens_per_minute": member.tokens_per_minute,
        "concurrent_requests": member.concurrent_requests,
    }
    return [
        LimitFragment(
            id=f"{provider.id}/{endpoint.name}/{member.id}/{kind}",
            name=f"{member.name or member.id} at {provider.name}",
            organisation=provider.organisation,
            scope="credential",
            scope_id=f"{provider.id}/{endpoint.name}/{member.id}",
            kind=kind,
            amount=amount,
        )
        for kind, amount in amounts.items()
        if amount is not None
    ]


def _with_credentials(limits: Mapping[str, Fragment], providers: Mapping[str, Fragment]) -> Mapping[str, Fragment]:
    """People's limits, and those of credentials in pools."""
    own = {
        limit.id: limit
        for provider in cast(Mapping[str, ProviderFragment], providers).values()
        for endpoint in provider.endpoints
        for member in endpoint.credentials
        for limit in _limits_of(provider, endpoint, member)
    }
    return {**limits, **own} if own else limits


def _compile_tables(
    full: Mapping[str, Mapping[str, Fragment]], unseal: Unseal | None, flags: FlagTable, previous: Runtime | None = None
) -> dict[str, dict[str, CompiledRoute]]:
    """previous: a config in which all but routes and flags is the same; its routes are taken over where they are what they were."""
    targets: _Targets | None = None
    before: dict[str, CompiledRoute] = {}
    moved: list[FlagFragment] = []
    if previous is not None:
        before = {route.id: route for table in previous.tables.values() for route in table.values()}
        moved = flags_moved(previous.fragments["flags"], full["flags"])
    tables: dict[str, dict[str, CompiledRoute]] = {}
    for route in cast(Mapping[str, RouteFragment], full["routes"]).values():
        old = before.get(route.id)
        parts = old.parts if old is not None else None
        if parts is None or (parts.fragment is not route and parts.fragment != route):
            targets = targets or _Targets(full, unseal)
            parts, old = _parts(route, targets), None
        if old is None or any(may_touch(flag, parts) for flag in moved):
            compiled = route_with(parts, flags.touching(parts))
        else:
            compiled = old
            compiled.templates.clear()  # they hold on to the config that they are of
        table = tables.setdefault(route.organisation, {})
        for name in (route.name, *route.aliases):
            if name in table:
                raise CompileError("routes", route.id, "name", f"{name!r} is already the name or alias of the route {table[name].name!r}")
            table[name] = compiled
    return tables


def _parts(route: RouteFragment, targets: _Targets) -> RouteParts:
    """What a route is made of, checked. Raises CompileError."""
    if not route.targets:
        raise CompileError("routes", route.id, "targets", "a route needs at least one target")
    _check_names(route)
    _check_deadlines(route)
    check_resilience(route)
    primary = tuple(targets.compile(route, f"targets[{i}]", t) for i, t in enumerate(route.targets))
    alternative = tuple(targets.compile(route, f"fallback[{i}]", t) for i, t in enumerate(route.fallback))
    only = None
    if route.switch is not None:
        only = targets.compile(route, "switch.target", route.switch.target)
        only = next((target for target in primary + alternative if target.label == only.label), only)  # with the options it has there
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
    return RouteParts(route, primary, alternative, only, mirror, forced)


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
