"""What of a request's records is known before the request comes: one set of templates per key, route and target.

Copying a record and setting what differs costs a fifth of building it from thirty names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from apps.contracts.usage import Attempt, Kind, OpenRecord, UsageRecord

VARIANT = "variant:"
"""What a record's flag begins with that names the variant of a split."""

if TYPE_CHECKING:
    from apps.proxy.runtime import CompiledKey, CompiledRoute, CompiledTarget, Runtime

MAX_TEMPLATES = 4096
"""Per route; forgotten with the config version, or when there are more."""


class Templates:
    """``new_open``, ``new_attempt`` and ``new_usage`` give a fresh copy each. Lists inside are shared: set a new one, do not append."""

    __slots__ = ("new_attempt", "new_open", "new_usage")

    def __init__(self, kind: Kind, key: CompiledKey, route: CompiledRoute, target: CompiledTarget, runtime: Runtime, proxy: str) -> None:
        attempt = Attempt(
            provider=target.provider,
            endpoint=target.endpoint,
            model=target.model,
            region=target.region,
            simulated=target.simulated,
            outcome="ok",
            status=200,
        )
        opened = OpenRecord(
            id=b"",
            started_us=0,
            organisation=key.organisation,
            key_id=key.id,
            kind=kind,
            route=route.name,
            requested_model="",
            stream=False,
            provider=target.provider,
            endpoint=target.endpoint,
            model=target.model,
            region=target.region,
            simulated=target.simulated,
            environment=key.environment,
            team=key.team,
            service=key.service,
            config_version=runtime.version,
        )
        usage = usage_template(kind, key, route, runtime, proxy)
        usage.simulated = target.simulated
        if target.variant:
            usage.flags = [*usage.flags, f"{VARIANT}{target.variant}"]
        # the structs' own copies: copy.copy() looks its way to the same function each time
        self.new_attempt: Callable[[], Attempt] = attempt.__copy__  # type: ignore[attr-defined]
        self.new_open: Callable[[], OpenRecord] = opened.__copy__  # type: ignore[attr-defined]
        self.new_usage: Callable[[], UsageRecord] = usage.__copy__  # type: ignore[attr-defined]


def usage_template(kind: Kind, key: CompiledKey | None, route: CompiledRoute | None, runtime: Runtime, proxy: str) -> UsageRecord:
    """A full record with everything that config says."""
    return UsageRecord(
        id=b"",
        started_us=0,
        organisation=key.organisation if key is not None else "",
        key_id=key.id if key is not None else "",
        kind=kind,
        route=route.name if route is not None else "",
        requested_model="",
        stream=False,
        outcome="ok",
        status=200,
        environment=key.environment if key is not None else "production",
        team=key.team if key is not None else "",
        service=key.service if key is not None else "",
        config_version=runtime.version,
        flags=[
            *(route.flags if route is not None else ()),
            *((key.killed_by,) if key is not None and key.killed_by else ()),
            *((key.secret,) if key is not None and key.secret else ()),
        ],
        simulated=any(target.simulated for target in route.targets) if route is not None else False,
        proxy=proxy,
    )


def templates_of(kind: Kind, key: CompiledKey, route: CompiledRoute, target: CompiledTarget, runtime: Runtime, proxy: str) -> Templates:
    """The templates for this combination, made at its first request under this config version."""
    name = (kind, key, target, runtime)
    found = route.templates.get(name)
    if found is None:
        if len(route.templates) >= MAX_TEMPLATES:
            route.templates.clear()
        found = route.templates[name] = Templates(kind, key, route, target, runtime, proxy)
    return found
