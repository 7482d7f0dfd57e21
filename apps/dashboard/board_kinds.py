"""What there are dashboards of: everything, and each route, provider, model, key, team and region. One table; all of them are one page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from django.urls import reverse

from apps.accounts.models import Organisation
from apps.dashboard.spend_lines import names_of
from apps.providers.models import Endpoint
from apps.usage.selectors import Dimension
from apps.usage.summaries import endpoint_value


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of dashboard. slug: in URLs, and the filter of requests that says the same. dimension: of the summaries.

    targets: its failures are its attempts', because other targets may have answered the requests. regions: its values are regions, each
    of which is some endpoints.
    """

    slug: str
    label: str
    plural: str
    dimension: Dimension | Literal[""]
    targets: bool = False
    regions: bool = False

    @property
    def url(self) -> str:
        """Its list; of everything its dashboard."""
        return reverse("dashboard:board", args=[self.slug]) if self.slug else reverse("dashboard:boards")

    def of(self, value: str, **query: str) -> str:
        """The dashboard of one value."""
        return f"{self.url}?{urlencode({'value': value, **query})}"


KINDS: dict[str, Kind] = {
    kind.slug: kind
    for kind in (
        Kind("", "Everything", "", ""),
        Kind("route", "Route", "routes", "route"),
        Kind("provider", "Provider", "providers", "provider", targets=True),
        Kind("model", "Model", "models", "model", targets=True),
        Kind("region", "Region", "regions", "endpoint", targets=True, regions=True),
        Kind("key", "Key", "keys", "key_id"),
        Kind("team", "Team", "teams", "team"),
    )
}
EVERYTHING = KINDS[""]
NO_REGION = "no region"
"""What endpoints without a region are shown under."""


def value_names(kind: Kind, organisation: Organisation, values: Iterable[str]) -> Mapping[str, str]:
    """Names of what is known by id or short name only: one query, or none."""
    return names_of(organisation, kind.dimension, values) if kind.dimension in ("key_id", "team") else {}


def regions_of(organisation: Organisation) -> dict[str, str]:
    """Each endpoint, as the summaries name it, with its region: one query. Traffic of endpoints that are gone has no region any more."""
    rows = Endpoint.objects.filter(provider__organisation=organisation).values_list("provider__name", "name", "region")
    return {endpoint_value(provider, name): region or NO_REGION for provider, name, region in rows}


def values_of(kind: Kind, organisation: Organisation, value: str) -> tuple[str, ...]:
    """The values of the dimension that a dashboard of ``value`` is of: itself, or the endpoints of a region (one query)."""
    if not kind.regions:
        return (value,)
    return tuple(sorted(endpoint for endpoint, region in regions_of(organisation).items() if region == value))
