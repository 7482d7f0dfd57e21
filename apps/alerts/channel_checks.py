"""Pure checks of channels and policies as people write them. Every refusal says what to write instead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from apps.alerts import channel_choices as choices
from apps.alerts.channels.base import Refused
from apps.alerts.channels.ntfy import split
from apps.audit.errors import ServiceError
from apps.contracts.addresses import host_refusal
from apps.contracts.webhooks import secret_key

MOST_ADDRESSES = 10
MOST_STEPS = 20
MOST_MINUTES = 24 * 60
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")
_TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")


@dataclass(frozen=True, slots=True)
class Address:
    """kept: under the master key. shown: on pages, without what may be a secret."""

    kept: str
    shown: str


def check_name(name: str, what: str) -> str:
    """A short name. Raises ServiceError."""
    if not _NAME.fullmatch(name):
        raise ServiceError(f"{what} {name[:80]!r}: use 1 to 60 of a-z, 0-9 and -, beginning and ending with a letter or digit.", "name")
    return name


def check_kind(kind: str) -> choices.Kind:
    """What the kind is. Raises ServiceError."""
    if kind not in choices.KINDS:
        raise ServiceError(f"{kind[:40]!r} is no kind of channel; there are {', '.join(choices.KINDS)}.", "kind")
    return choices.KINDS[kind]


def check_address(kind: str, address: str, *, allow_private: bool) -> Address:
    """Where a channel of a kind sends. Raises ServiceError."""
    address = address.strip()
    if kind == choices.EMAIL:
        return _emails(address)
    if kind == choices.PAGERDUTY and not address:
        address = choices.PAGERDUTY_ADDRESS
    parts = urlsplit(address) if address.isprintable() and len(address) <= 1000 and " " not in address else urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or not _port(address):
        example = choices.KINDS[kind].example
        raise ServiceError(f"Write an address such as {example}, without a user or password in it.", "address")
    why = host_refusal(parts.hostname, allow_private=allow_private)
    if why:
        said = "" if allow_private else " Allow private networks where that is meant."
        raise ServiceError(f"This address may not be called: {why}.{said}", "address")
    if parts.scheme == "http" and not allow_private:
        raise ServiceError("Use https, or allow private networks where the receiver is one of your own.", "address")
    if kind == choices.NTFY:
        _topic(address)
    host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    shown = f"{parts.scheme}://{host}{parts.path}" if kind == choices.PAGERDUTY else f"{parts.scheme}://{host}/…"
    return Address(address, shown[:254])


def check_secret(kind: str, secret: str) -> str:
    """Raises ServiceError for one that the kind has not, cannot use, or lacks."""
    secret = secret.strip()
    facts = choices.KINDS[kind]
    if secret and not facts.secret:
        raise ServiceError(f"A channel of kind {facts.label} has no secret: its address is one.", "secret")
    if kind == choices.PAGERDUTY and not secret:
        raise ServiceError("Give the integration's routing key, as PagerDuty shows it under Events API v2.", "secret")
    if kind == choices.WEBHOOK and secret:
        try:
            secret_key(secret)
        except ValueError as error:
            raise ServiceError(f"{str(error).capitalize()}: leave it empty to have one made.", "secret") from None
    if len(secret) > 500 or not secret.isprintable():
        raise ServiceError("A secret has at most 500 printable characters.", "secret")
    return secret


@dataclass(frozen=True, slots=True)
class StepWords:
    """One step as people write it: ``10 next``, ``0 channel ops-slack``, ``0 on-call payments-weekly``."""

    after_minutes: int
    target: str
    name: str = ""


def steps_read(lines: Sequence[str]) -> list[StepWords]:
    """A ladder, one step a line: minutes, target, and the channel's or rotation's short name. Raises ServiceError."""
    found = []
    for line in lines:
        minutes, _, rest = line.strip().partition(" ")
        target, _, name = rest.strip().partition(" ")
        if not minutes.isascii() or not minutes.isdigit() or int(minutes[:6]) > MOST_MINUTES or target not in choices.TARGETS:
            raise ServiceError(
                f"{line[:60]!r} is no step: write minutes from 0 to {MOST_MINUTES}, then one of {', '.join(choices.TARGETS)},"
                " such as “0 on-call”, “10 next” or “0 channel ops-slack”.",
                "steps",
            )
        if (target == choices.CHANNEL) != bool(name.strip()) and target not in (choices.ON_CALL, choices.NEXT, choices.EVERYONE):
            said = "Name the channel after it." if target == choices.CHANNEL else f"{target} takes no name."
            raise ServiceError(f"{line[:60]!r}: {said}", "steps")
        if target == choices.CHANNEL and not name.strip():
            raise ServiceError(f"{line[:60]!r}: Name the channel after it.", "steps")
        found.append(StepWords(int(minutes), target, name.strip()))
    found.sort(key=lambda step: step.after_minutes)
    if not found or found[0].after_minutes != 0:
        raise ServiceError("Begin with a step at 0 minutes, such as “0 on-call”: somebody is told at once.", "steps")
    if len(found) > MOST_STEPS or len(set(found)) != len(found):
        raise ServiceError(f"Write each step once, at most {MOST_STEPS} of them.", "steps")
    return found


def step_written(step: StepWords) -> str:
    """As ``steps_read`` takes it."""
    return f"{step.after_minutes} {step.target}{f' {step.name}' if step.name else ''}"


def check_between(value: int, low: int, high: int, field: str, what: str) -> int:
    """Raises ServiceError."""
    if not isinstance(value, int) or not low <= value <= high:
        raise ServiceError(f"{what}: write a whole number from {low} to {high}.", field)
    return value


def _emails(text: str) -> Address:
    addresses = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not addresses or len(addresses) > MOST_ADDRESSES:
        raise ServiceError(f"Write 1 to {MOST_ADDRESSES} e-mail addresses, separated by commas.", "address")
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError:
            raise ServiceError(f"{address[:80]!r} is not an email address.", "address") from None
    joined = ", ".join(addresses)
    return Address(joined, joined if len(joined) <= 254 else f"{len(addresses)} addresses")


def _topic(address: str) -> None:
    try:
        _, topic = split(address)
    except Refused:
        topic = ""
    if not _TOPIC.fullmatch(topic):
        raise ServiceError("Name the topic at the end of the address: https://ntfy.sh/your-topic, letters, digits, - and _.", "address")


def _port(address: str) -> bool:
    try:
        return urlsplit(address).port != 0
    except ValueError:
        return False
