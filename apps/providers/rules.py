"""Pure decisions about providers: names, addresses, prices. No ORM.

Every check returns the value in its stored form or raises ``ServiceError`` with a sentence that says what to do.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from apps.audit.errors import ServiceError
from apps.contracts.addresses import host_refusal
from apps.contracts.credentials import FORMS, Credential, CredentialError, Key, credential_read
from apps.contracts.limits import AmountError, amount_check
from apps.contracts.money import MAX_NANO
from apps.contracts.pricing import KINDS as KINDS_OF_TOKENS
from apps.contracts.pricing import WHOLE, Price, cost_nano
from apps.contracts.snapshot import OffPeak, PriceTier, PriceVersion
from apps.contracts.usage import Tokens
from apps.providers.choices import KINDS

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,78}[a-z0-9])?")
MODEL = re.compile(r"[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]{0,198}[^\x00-\x20\x7f])?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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


class PoolSpec(NamedTuple):
    """One of several credentials of an endpoint, by name. Its limits hold over all proxies; None: no limit."""

    name: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None

    @property
    def limited(self) -> bool:
        """Whether it has any limit of its own."""
        return any(amount is not None for amount in self[1:])


class EndpointSpec(NamedTuple):
    """An endpoint as a person writes it. credential: name of one in the same organisation, empty for none. credentials: several, used
    in turn, instead of one. api_version: of kinds that need it."""

    name: str
    base_url: str
    region: str = ""
    credential: str = ""
    max_connections: int = 4096
    verify_tls: bool = True
    ca_file: str = ""
    credentials: tuple[PoolSpec, ...] = ()
    api_version: str = ""

    def facts(self) -> dict[str, Any]:
        """As the audit keeps it: what is new since it began is named only where it says something."""
        said = self._asdict()
        pool, version = said.pop("credentials"), said.pop("api_version")
        if pool:
            said["credentials"] = [{name: value for name, value in member._asdict().items() if value is not None} for member in pool]
        return {**said, "api_version": version} if version else said


MOST_POOLED = 50


def check_pool(spec: EndpointSpec, field: str) -> EndpointSpec:
    """The endpoint with its credentials as they are stored: ``credential`` is the first of several, and ``credentials`` is empty where
    there is but one, without limits."""
    pool = tuple(member if isinstance(member, PoolSpec) else PoolSpec(**member) for member in spec.credentials)
    if not pool:
        return spec._replace(credentials=())
    if len(pool) > MOST_POOLED:
        raise ServiceError(f"{len(pool)} credentials: an endpoint uses up to {MOST_POOLED}", f"{field}.credentials")
    names = [member.name for member in pool]
    if len(set(names)) < len(names):
        raise ServiceError("a credential is named twice", f"{field}.credentials")
    if spec.credential and spec.credential != names[0]:
        raise ServiceError("write credential, or credentials with the one that comes first, not two different ones", f"{field}.credentials")
    for member in pool:
        for measure, amount in member._asdict().items():
            if measure != "name" and amount is not None:
                try:
                    amount_check(amount)
                except AmountError as error:
                    raise ServiceError(str(error), f"{field}.credentials") from None
    alone = len(pool) == 1 and not pool[0].limited
    return spec._replace(credential=names[0], credentials=() if alone else pool)


def check_api_version(kind: str, version: str, field: str) -> str:
    """What Azure's older API wants in its query, of the kinds that have it, and of no other."""
    if not KINDS[kind].versioned:
        if version:
            raise ServiceError(f"{KINDS[kind].label} has no api_version: leave it empty", field)
        return ""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(?:-preview)?", version):
        raise ServiceError(f"{version!r} is not an api-version: write one such as 2024-10-21", field)
    return version


def check_form(kind: str, form: str, name: str, field: str) -> None:
    """Whether a provider of this kind takes a credential of this form."""
    if form not in KINDS[kind].forms:
        takes = " or ".join(FORMS[form] for form in KINDS[kind].forms)
        raise ServiceError(f"the credential {name!r} is a {FORMS.get(form, form)}; {KINDS[kind].label} takes {takes}", field)


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
        checked.append(check_pool(spec._replace(base_url=base_url), field))
    return checked


def check_credential(value: str) -> Credential:
    """A credential: a key that a header may carry, or an account. The value itself is never part of a message."""
    if value.startswith("{"):
        try:
            return credential_read(value)
        except CredentialError as error:
            raise ServiceError(str(error), "secret") from None
    return Key(check_secret(value))


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

    tiers: dicts of ``from_input_tokens`` and the prices that change from there on. off_peak: dicts of ``from_minute``, ``to_minute``
    and ``discount``.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    request: int = 0
    tiers: tuple[Mapping[str, int | None], ...] = ()
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    region: str = ""
    batch_discount: int = 0
    off_peak: tuple[Mapping[str, int], ...] = ()

    @property
    def numbers(self) -> tuple[Any, ...]:
        """Everything but its validity."""
        return (*self[:6], *self[8:])


def price_version(spec: PriceSpec, label: str) -> PriceVersion:
    """The spec as proxies get it."""
    kinds: dict[str, Any] = {kind: getattr(spec, kind) for kind in KINDS_OF_TOKENS}
    tiers: list[dict[str, Any]] = [{name: amount for name, amount in tier.items() if amount is not None} for tier in spec.tiers]
    return PriceVersion(
        version=label,
        request=spec.request,
        tiers=[PriceTier(**tier) for tier in tiers],
        region=spec.region,
        batch_discount=spec.batch_discount,
        off_peak=[OffPeak(**time) for time in spec.off_peak],
        valid_from_ms=unix_ms(spec.valid_from) or 0,
        valid_to_ms=unix_ms(spec.valid_to),
        **kinds,
    )


def spec_of_version(version: PriceVersion) -> PriceSpec:
    """What proxies got, as a spec."""
    then = msgspec.to_builtins(version)
    kinds: dict[str, Any] = {kind: getattr(version, kind) for kind in KINDS_OF_TOKENS}
    return PriceSpec(
        request=version.request,
        tiers=tuple(then.get("tiers", ())),
        region=version.region,
        batch_discount=version.batch_discount,
        off_peak=tuple(then.get("off_peak", ())),
        valid_from=moment(version.valid_from_ms or None),
        valid_to=moment(version.valid_to_ms),
        **kinds,
    )


def unix_ms(at: datetime | None) -> int | None:
    """Milliseconds since the epoch."""
    return None if at is None else int((at - _EPOCH).total_seconds() * 1000)


def moment(at_ms: int | None) -> datetime | None:
    """The moment so many milliseconds after the epoch."""
    return None if at_ms is None else _EPOCH + timedelta(milliseconds=at_ms)


def price_digest(spec: PriceSpec) -> str:
    """Twelve hex digits that stand for the numbers and validity: equal prices give equal version labels."""
    more = spec[8:] if spec[8:] != PriceSpec(0, 0)[8:] else ()
    text = repr((*spec[:5], [sorted(tier.items()) for tier in spec.tiers], *(v and v.timestamp() for v in spec[6:8]), *more))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_prices(specs: Sequence[PriceSpec], field: str = "prices") -> list[PriceSpec]:
    """Every amount within range, every validity non-empty, no two in force at the same time; sorted by start."""
    for at, spec in enumerate(specs):
        where = f"{field}[{at}]" if len(specs) > 1 else field
        amounts: dict[str, Any] = {name: getattr(spec, name) for name in (*KINDS_OF_TOKENS, "request")}
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
        if len(spec.region) > 80 or any(ord(c) < 32 for c in spec.region):
            raise ServiceError("a region is up to 80 characters without control characters", f"{where}.region")
        check_discount(spec.batch_discount, f"{where}.batch_discount")
        _check_hours(spec.off_peak, where)
        if spec.valid_from and spec.valid_to and spec.valid_from >= spec.valid_to:
            raise ServiceError("the price ends before it starts", f"{where}.valid_to")
    ordered = sorted(specs, key=lambda spec: (spec.region, spec.valid_from.timestamp() if spec.valid_from else float("-inf")))
    for earlier, later in itertools.pairwise(ordered):
        if earlier.region == later.region and overlap(earlier, later):
            raise ServiceError(
                "two prices of the model are in force at the same time: give the earlier one a valid_to", f"{field}.valid_to"
            )
    return sorted(ordered, key=lambda spec: spec.valid_from.timestamp() if spec.valid_from else float("-inf"))


class Dated(Protocol):
    """Something that holds during ``[valid_from, valid_to)``; None: without beginning, without end."""

    @property
    def valid_from(self) -> datetime | None: ...
    @property
    def valid_to(self) -> datetime | None: ...


def overlap(one: Dated, other: Dated) -> bool:
    """Whether both hold at some moment."""
    begins_in_time = one.valid_from is None or other.valid_to is None or one.valid_from < other.valid_to
    return begins_in_time and (other.valid_from is None or one.valid_to is None or other.valid_from < one.valid_to)


def check_discount(share: int, field: str) -> int:
    """Hundredths of a percent, from nothing to everything."""
    if not 0 <= share <= WHOLE:
        raise ServiceError("a discount is from 0 to 100 percent, with at most two decimals", field)
    return share


MOST_HOURS = 8


def _check_hours(times: Sequence[Mapping[str, int]], where: str) -> None:
    if len(times) > MOST_HOURS:
        raise ServiceError(f"at most {MOST_HOURS} off-peak times of the day", f"{where}.off_peak")
    taken: set[int] = set()
    for n, time in enumerate(times):
        start, end = time["from_minute"], time["to_minute"]
        if not (0 <= start < 1_440 and 0 <= end < 1_440) or start == end:
            raise ServiceError(
                "an off-peak time runs between two different times of the day, from 00:00 to 23:59", f"{where}.off_peak[{n}]"
            )
        check_discount(time["discount"], f"{where}.off_peak[{n}].discount")
        own = set(range(start, end)) if start < end else {*range(start, 1_440), *range(end)}
        if taken & own:
            raise ServiceError("two off-peak times overlap: part them", f"{where}.off_peak[{n}]")
        taken |= own


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
    """The prices of a model once ``new`` holds during its validity: in its region what held then gives way, and holds again after
    ``valid_to``. Without one, what was to begin later is dropped."""
    start, end = new.valid_from, new.valid_to
    kept: list[PriceSpec] = []
    for spec in current:
        if spec.region != new.region or not overlap(spec, new):
            kept.append(spec)
            continue
        if start is not None and (spec.valid_from is None or spec.valid_from < start):
            kept.append(spec._replace(valid_to=start))
        if end is not None and (spec.valid_to is None or spec.valid_to > end):
            kept.append(spec._replace(valid_from=end))
    return [*kept, new]


def price_in_force(specs: Sequence[PriceSpec], at: datetime) -> PriceSpec | None:
    """The price at a moment, of no region in particular; None where there is none."""
    for spec in specs:
        if not spec.region and (spec.valid_from is None or spec.valid_from <= at) and (spec.valid_to is None or at < spec.valid_to):
            return spec
    return None


EXAMPLE_INPUT, EXAMPLE_OUTPUT = 1_000, 500
"""Tokens of the request by which pages show what a price means."""


def example_cost(spec: PriceSpec) -> int:
    """Nano-dollars of a request of ``EXAMPLE_INPUT`` and ``EXAMPLE_OUTPUT`` tokens; rounded up, as the proxy does."""
    return cost_nano(price_version(spec, ""), Tokens(input=EXAMPLE_INPUT, output=EXAMPLE_OUTPUT))


def example_cost_of(price: Price) -> int:
    """The same of a compiled price."""
    return price.cost(Tokens(input=EXAMPLE_INPUT, output=EXAMPLE_OUTPUT))


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
