"""How often requests met flags: what is told goes on over new versions, and names what the config knows."""

from __future__ import annotations

from typing import Any

import msgspec

from apps.contracts.reports import exposures_in
from apps.contracts.snapshot import FlagFragment
from apps.contracts.usage import UsageRecord
from apps.proxy.exposures import Exposures
from apps.proxy.holder import Holder
from apps.proxy.metrics import Metrics
from tests.proxy.fragments import ORG, provider, route
from tests.proxy.standalone import config_of

STAGING = {"strategies": [{"name": "default", "constraints": [{"contextName": "environment", "operator": "IN", "values": ["staging"]}]}]}


def record(*flags: str, organisation: str = ORG) -> UsageRecord:
    return UsageRecord(
        id=b"", started_us=0, organisation=organisation, key_id="k", kind="chat", route="chat", requested_model="chat", stream=False,
        outcome="ok", status=200, environment="production", flags=list(flags),
    )  # fmt: skip


def heard(exposures: Exposures) -> dict[tuple[str, str], int]:
    """As the control plane has it from a heartbeat."""
    return exposures_in(msgspec.json.decode(msgspec.json.encode(exposures.detail())))


def test_what_was_met_is_told_and_outlives_a_publish() -> None:
    asked = FlagFragment(id="f-1", name="asked", organisation=ORG, kind="kill", subject="route", subject_id="r-1", on=True, rules=STAGING)
    always = FlagFragment(
        id="f-2", name="always", organisation=ORG, kind="degrade", subject="route", subject_id="r-1", on=True, level="limited"
    )
    holder, metrics = Holder(None), Metrics()
    exposures = Exposures(holder, metrics)
    assert exposures.detail() == {}
    for version in (1, 2):
        holder.apply(config_of([provider(), route(), asked, always], version))
        flagging: Any = holder.current.tables[ORG]["chat"].flagging
        flagging.flags[0].tally.off += 3
        for one in (record("always"), record("always", "asked", "variant:x"), record("always", organisation="o-2")):
            metrics.count(one)
        metrics.drain()
    told = heard(exposures)
    assert told == {("f-1", "on"): 2, ("f-1", "off"): 6, ("f-2", "on"): 4, ("f-2", "off"): 0}
    holder.apply(config_of([provider(), route(), asked], 3))
    assert set(heard(exposures)) == {("f-1", "on"), ("f-1", "off")}, "a flag that is gone has nobody to be told to"
