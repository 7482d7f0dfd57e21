"""The document's types of ownership: teams with their services, the map, rotations, runbooks."""

from __future__ import annotations

from typing import Literal

import msgspec

from controlplane.configfile.values import AsWritten, Duration, Entry


class ContactEntry(msgspec.Struct, kw_only=True):
    """One way to reach a team."""

    kind: Literal["email", "chat", "phone", "url"]
    value: str
    label: str = ""


class SlaEntry(msgspec.Struct, kw_only=True):
    """What a team or a service promises, and from where on people are told."""

    availability: AsWritten
    window_days: int = 30
    warn_percent: int = 50
    page_percent: int = 90
    first_token: Duration = 0
    first_token_warn: Duration = 0
    first_token_page: Duration = 0
    latency: Duration = 0
    latency_warn: Duration = 0
    latency_page: Duration = 0


class ServiceEntry(Entry, kw_only=True):
    """An application of a team."""

    title: str = ""
    sla: SlaEntry | None = None
    absent: bool = False


class TeamEntry(Entry, kw_only=True):
    """Who owns services, keys and flags."""

    title: str = ""
    contact: str = ""
    contacts: list[ContactEntry] = []
    sla: SlaEntry | None = None
    services: list[ServiceEntry] = []
    absent: bool = False


class LayerEntry(Entry, kw_only=True):
    """A column of the ownership map."""

    title: str = ""
    help: str = ""
    position: int = 0
    absent: bool = False


class CellEntry(msgspec.Struct, kw_only=True):
    """The team that answers for one layer in a region."""

    layer: str
    team: str


class RegionEntry(Entry, kw_only=True):
    """A row of the ownership map."""

    title: str = ""
    owners: list[CellEntry] = []
    absent: bool = False


class RotationEntry(Entry, kw_only=True):
    """Who is on call, in turns."""

    kind: Literal["on-call", "chaos-lead"] = "on-call"
    team: str = ""
    members: list[str] = []
    zone: str = "UTC"
    weekday: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = "mon"
    time: AsWritten = "09:00"
    every_days: int = 7
    starts_on: AsWritten = ""
    days: str = ""
    from_time: AsWritten = "00:00"
    to_time: AsWritten = "24:00"
    absent: bool = False


class RunbookEntry(Entry, kw_only=True):
    """What to do when something breaks."""

    title: str = ""
    owner: str = ""
    review_every_days: int = 90
    text: AsWritten = ""
    absent: bool = False
