"""The smallest config that compiles, to be changed a field at a time: a provider, a route to it, and the sections they lie in."""

from __future__ import annotations

from typing import Any

from apps.contracts.snapshot import SECTIONS, Endpoint, Fragment, ProviderFragment, RouteFragment, Target

ORG = "o-1"
BY_TYPE = {kind: name for name, kind in SECTIONS.items()}


def provider(**changes: Any) -> ProviderFragment:
    endpoint = Endpoint(name="main", base_url=changes.pop("base_url", "http://127.0.0.1:1/v1"), credential=changes.pop("credential", None))
    return ProviderFragment(**{"id": "p-1", "name": "east", "kind": "openai", "organisation": ORG, "endpoints": [endpoint], **changes})


def route(**changes: Any) -> RouteFragment:
    return RouteFragment(**{"id": "r-1", "name": "chat", "organisation": ORG, "targets": [Target(provider="east", model="m")], **changes})


def table(*fragments: Fragment) -> dict[str, dict[str, Fragment]]:
    found: dict[str, dict[str, Fragment]] = {name: {} for name in SECTIONS}
    for fragment in fragments:
        found[BY_TYPE[type(fragment)]][fragment.id] = fragment
    return found
