"""What a route may say in the document is what the contract knows, under names without ``_ms`` and with the same defaults."""

from __future__ import annotations

import msgspec
import pytest

from apps.contracts.snapshot import BreakerPolicy, Resilience, RouteFragment, Target
from apps.routes.resilience import TargetSpec
from controlplane.configfile.document import BreakerEntry, ResilienceEntry, RouteEntry, TargetEntry
from controlplane.configfile.routing import entry_of_resilience, entry_of_spec


@pytest.mark.parametrize(("entry", "contract"), [(TargetEntry, Target), (ResilienceEntry, Resilience), (BreakerEntry, BreakerPolicy)])
def test_a_document_has_every_field_of_the_contract(entry: type[msgspec.Struct], contract: type[msgspec.Struct]) -> None:
    assert [name.removesuffix("_ms") for name in contract.__struct_fields__] == list(entry.__struct_fields__)


def test_what_is_left_out_means_the_same_in_both() -> None:
    assert entry_of_resilience(Resilience()) == ResilienceEntry()
    assert entry_of_spec(TargetSpec("east", "m")) == TargetEntry(provider="east", model="m")
    route, entry = RouteFragment(id="r", name="r", organisation="o", targets=[]), RouteEntry(name="r", targets=[])
    for name in ("max_output_tokens", "max_attempts", "unpriced", "enabled"):
        assert getattr(route, name) == getattr(entry, name), name
