"""Pure decisions about providers: names, addresses, prices. No ORM.

Every check returns the value in its stored form or raises ``ServiceError`` with a sentence that says what to do.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from apps.audit.errors import ServiceError
from apps.contracts.addresses import host_refusal
from apps.contracts.money import MAX_NANO, MILLION, ceil_div
from apps.providers.choices import KINDS

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,78}[a-z0-9])?")
MODEL = re.compile(r"[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]{0,198}[^\x00-\x20\x7f])?")
MAX_CONNECTIONS = 65_535
MAX_PRICE = MAX_NANO // 1_000_000
"""Dearest price in nano-dollars per million tokens: a request of a million million tokens still fits int64."""
MAX_REQUEST_PRICE = MAX_NANO // 1_000
PRIVATE_HINT = " If this provider really is there, set allow_private_addresses (“Allow private addresses”) for it."
LAST_FOUR_FROM = 16
"""Length from which a secret's last four characters are kept to tell it by."""


def check_name(name: str, field: str = "name") -> str:
    """Names are lower case and safe in addresses, labels and YAML."""
    if not NAME.fullmatch(name):
        raise ServiceError(
            f"{name!r} is not a name: use 1 to 80 lower-case letters, digits, '.', '_' or '-', starting and ending with a letter or digit",
            field,
        )
    return name


def check_kind(kind: str) -> str:
    """A kind that the proxy has a dialect for."""
    if kind not in KINDS:
        raise ServiceError(f"{kind!r} is not a kind of provider: use one of {', '.join(sorted(KINDS))}", "kind")
    return kind


def check_model(model: str, field: str = "model") -> str:
    """A model as its provider names it: up to 200 characters, none of them control characters."""
    if not MODEL.fullmatch(model):
        raise ServiceError(f"{model!r} is not a model's name: use 1 to 200 characters without control characters", field)
    return model


def check_base_url(url: str, field: str = "base_url", *, allow_private: bool = True) -> str:
    """An address with the API's version path, without its trailing slash.

    allow_private: False refuses addresses of this host and of private networks, as far as they can be told without asking a
    resolver; what a name leads to is judged by whoever dials it.
    """
    if not re.fullmatch(r"[\x21-\x7e]{1,500}", url):
        raise ServiceError(f"{url!r} is not an address: use up to 500 printable ASCII characters, percent-encode the rest", field)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ServiceError(f"{url!r} is not an address: {error}", field) from None
    if parts.scheme not in ("http", "https"):
        raise ServiceError(f"{url!r} does not start with http:// or https://", field)
    if not parts.hostname:
        raise ServiceError(f"{url!r} names no host: write it as https://host/v1", field)
    if "@" in parts.netloc:
        # Not echoed: what stands before the @ is a secret.
        raise ServiceError("the address carries a user or password: keep secrets in a credential", field)
    if "?" in url or "#" in url:
        raise ServiceError(f"{url!r} has a query or fragment: only scheme, host, port and path", field)
    if port == 0:
        raise ServiceError(f"{url!r} has port 0: use 1 to 65535", field)
    if "\\" in url or any(segment in (".", "..") for segment in parts.path.split("/")):
        raise ServiceError(f"{url!r} has a path that steps around: write it plainly", field)
    why = host_refusal(parts.hostname, allow_private=allow_private)
    if why:
        hint = "" if host_refusal(parts.hostname, allow_private=True) else PRIVATE_HINT
        raise ServiceError(f"{url!r} is refused: {why}.{hint}", field)
    return url.rstrip("/")


class EndpointSpec(NamedTuple):
    """An endpoint as a person writes it. credential: name of one in the same organisation, empty for none."""

    name: str
    base_url: str
    region: str = ""
    credential: str = ""
    max_connections: int = 4096
    verify_tls: bool = True
    ca_file: str = ""


def check_endpoints(endpoints: Sequence[EndpointSpec], *, allow_private: bool = True) -> list[EndpointSpec]:
    """At least one endpoint, names unique, each valid. allow_private: see ``check_base_url``."""
    if not endpoints:
        raise ServiceError("a provider needs at least one endpoint with a base_url", "endpoints")
    checked: list[EndpointSpec] = []
    seen: set[str] = set()
    for at, spec in enumerate(endpoints):
        field = f"endpoints[{at}]"
        check_name(spec.name, f"{field}.name")
        if spec.name in seen:
            raise ServiceError(f"two endpoints are named {spec.name!r}", f"{field}.name")
        seen.add(spec.name)
        if not 1 <= spec.max_connections <= MAX_CONNECTIONS:
            raise ServiceError(f"{spec.max_connections} connections: use 1 to {MAX_CONNECTIONS}", f"{field}.max_connections")
        if len(spec.region) > 80 or any(ord(c) < 32 for c in spec.region):
            raise ServiceError("a region is up to 80 characters without control characters", f"{field}.region")
        if spec.ca_file and (not spec.ca_file.startswith("/") or len(spec.ca_file) > 500 or "\x00" in spec.ca_file):
            raise ServiceError(f"{spec.ca_file!r} is not an absolute path to a PEM bundle on the proxies' hosts", f"{field}.ca_file")
        base_url = check_base_url(spec.base_url, f"{field}.base_url", allow_private=allow_private)
        checked.append(spec._replace(base_url=base_url))
    return checked


def check_secret(value: str) -> str:
    """A secret that a header may carry. The value itself is never part of a message."""
    if not value:
        raise ServiceError("the secret is empty", "secret")
    if len(value) > 8192:
        raise ServiceError("the secret is longer than 8192 characters", "secret")
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ServiceError("the secret holds spaces, line breaks or characters that no header may carry", "secret")
    return value


def last_four(value: str) -> str:
    """By which people tell one secret from another; nothing of a short one."""
    return value[-4:] if len(value) >= LAST_FOUR_FROM else ""


class PriceSpec(NamedTuple):
    """What a model costs during ``[valid_from, valid_to)``; units as in ``apps.contracts.snapshot.PriceVersion``.

    tiers: dicts of ``from_input_tokens`` and the prices that change from there on.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    request: int = 0
    tiers: tuple[Mapping[str, int | None], ...] = ()
    valid_from: datetime | None = None
    valid_to: datetime | None = None


def price_digest(spec: PriceSpec) -> str:
    """Twelve hex digits that stand for the numbers and validity: equal prices give equal version labels."""
    text = repr((*spec[:5], [sorted(tier.items()) for tier in spec.tiers], *(v and v.timestamp() for v in spec[6:8])))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_prices(specs: Sequence[PriceSpec], field: str = "prices") -> list[PriceSpec]:
    """Every amount within range, every validity non-empty, no two in force at the same time; sorted by start."""
    for at, spec in enumerate(specs):
        where = f"{field}[{at}]" if len(specs) > 1 else field
        amounts: dict[str, Any] = {name: getattr(spec, name) for name in ("input", "output", "cache_read", "cache_write", "request")}
        for name, amount in amounts.items():
            _check_amount(amount, f"{where}.{name}", MAX_REQUEST_PRICE if name == "request" else MAX_PRICE)
        last = 0
        for n, tier in enumerate(spec.tiers):
            start = tier.get("from_input_tokens") or 0
            if start <= last:
                raise ServiceError("tiers start above zero input tokens and rise", f"{where}.tiers[{n}].from_input_tokens")
            last = start
            for name, amount in tier.items():
                if name != "from_input_tokens":
                    _check_amount(amount, f"{where}.tiers[{n}].{name}", MAX_PRICE)
        if spec.valid_from and spec.valid_to and spec.valid_from >= spec.valid_to:
            raise ServiceError("the price ends before it starts", f"{where}.valid_to")
    ordered = sorted(specs, key=lambda spec: spec.valid_from.timestamp() if spec.valid_from else float("-inf"))
    for earlier, later in itertools.pairwise(ordered):
        if later.valid_from is None or earlier.valid_to is None or earlier.valid_to > later.valid_from:
            raise ServiceError(
                "two prices of the model are in force at the same time: give the earlier one a valid_to", f"{field}.valid_to"
            )
    return ordered


def _check_amount(amount: int | None, field: str, largest: int) -> None:
    if amount is not None and not 0 <= amount <= largest:
        raise ServiceError(f"a price is from 0 to {largest // 1_000_000_000} dollars per million", field)


def check_state(status: int | None) -> str:
    """The state that an HTTP status of ``GET <base_url>/models`` means; None: no answer."""
    if status is None:
        return "down"
    if status in (401, 403):
        return "refused"
    if 200 <= status < 300 or status in (404, 405):
        return "up"
    return "failing"


def prices_changed(current: Sequence[PriceSpec], new: PriceSpec) -> list[PriceSpec]:
    """The prices of a model once ``new`` holds from its ``valid_from`` on (None: always): what held before ends there, what was
    to begin later is dropped."""
    start = new.valid_from
    if start is None:
        return [new]
    earlier = [spec for spec in current if spec.valid_from is None or spec.valid_from < start]
    return [*(spec._replace(valid_to=start if spec.valid_to is None or spec.valid_to > start else spec.valid_to) for spec in earlier), new]


def price_in_force(specs: Sequence[PriceSpec], at: datetime) -> PriceSpec | None:
    """The price at a moment; None where there is none."""
    for spec in specs:
        if (spec.valid_from is None or spec.valid_from <= at) and (spec.valid_to is None or at < spec.valid_to):
            return spec
    return None


EXAMPLE_INPUT, EXAMPLE_OUTPUT = 1_000, 500
"""Tokens of the request by which pages show what a price means."""


def example_cost(spec: PriceSpec) -> int:
    """Nano-dollars of a request of ``EXAMPLE_INPUT`` and ``EXAMPLE_OUTPUT`` tokens; rounded up, as the proxy does."""
    tier: dict[str, int | None] = {}
    for step in spec.tiers:
        if (step.get("from_input_tokens") or 0) <= EXAMPLE_INPUT:
            tier |= {name: amount for name, amount in step.items() if amount is not None}
    per_input, per_output = tier.get("input", spec.input) or 0, tier.get("output", spec.output) or 0
    return ceil_div(EXAMPLE_INPUT * per_input + EXAMPLE_OUTPUT * per_output + spec.request, MILLION)


def provider_state(*, enabled: bool, checks: Sequence[str], attempts: int = 0, failed: int = 0) -> str:
    """What a provider's page says of it: the worst of its endpoints' checks (``up`` and so on, ``stale`` for one that nobody has
    heard of lately) and of what its traffic shows. A key of ``PROVIDER_STATES``."""
    if not enabled:
        return "disabled"
    order = ("down", "refused", "failing", "stale")
    found = next((state for state in order if state in checks), "up" if checks else "unchecked")
    if attempts >= MIN_ATTEMPTS:
        if failed * 2 >= attempts:
            return found if found in ("down", "refused") else "failing_traffic"
        if failed * 20 >= attempts and found in ("up", "unchecked", "stale"):
            return "degraded"
        if found in ("unchecked", "stale"):
            return "answering"
    return found


MIN_ATTEMPTS = 5
"""Fewer attempts than this say nothing about a provider."""
