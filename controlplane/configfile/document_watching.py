"""The document's types of watching: alert rules, SLOs, who is told of alerts and how, what is captured, views that teams keep."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from controlplane.configfile.values import AsWritten, Duration, Entry, Percent, Reference


class AlertRuleEntry(Entry, kw_only=True):
    """When somebody is told of a series. What its fields may say is the services' to judge, so that forms say the same."""

    title: str
    series: str
    by: str = ""
    values: list[str] = []
    comparison: Literal["above", "below", "times_baseline"] = "above"
    warn: AsWritten = ""
    critical: AsWritten = ""
    window: Duration = 300_000
    fires_after: Duration = 60_000
    resolves_after: Duration = 300_000
    min_samples: int = 0
    on_missing: Literal["hold", "alert"] = "hold"
    labels: dict[str, str] = {}
    owner: str = ""
    runbook: str = ""
    opens_incident: Literal["", "sev1", "sev2", "sev3", "sev4"] = ""
    enabled: bool = True
    absent: bool = False


class SloEntry(Entry, kw_only=True):
    """A promise about a share of requests. alerting and what follows it: of the rule that watches its error budget."""

    title: str
    indicator: Literal["availability", "ttft", "latency"]
    objective: AsWritten
    threshold: Duration = 0
    window_days: int = 30
    by: str = ""
    subject: str = ""
    min_requests: int = 100
    owner: str = ""
    runbook: str = ""
    alerting: bool = True
    fires_after: Duration = 0
    resolves_after: Duration = 300_000
    on_missing: Literal["hold", "alert"] = "alert"
    labels: dict[str, str] = {}
    opens_incident: Literal["", "sev1", "sev2", "sev3", "sev4"] = ""
    absent: bool = False


class AlertChannelEntry(Entry, kw_only=True):
    """One way to tell somebody, of a team or of the organisation; people's own are theirs. address, secret: None leaves them as they
    are."""

    kind: Literal["email", "webhook", "slack", "pagerduty", "ntfy"]
    emails: list[str] = []
    address: Reference | None = None
    secret: Reference | None = None
    team: str = ""
    allow_private: bool = False
    enabled: bool = True
    absent: bool = False


class NotificationPolicyEntry(Entry, kw_only=True):
    """Whom to tell of which alerts."""

    position: int = 0
    team: str = ""
    severity: Literal["", "warning", "critical"] = ""
    labels: dict[str, str] = {}
    steps: list[str]
    zone: str = "UTC"
    days: str = ""
    from_time: AsWritten = "00:00"
    to_time: AsWritten = "24:00"
    group_wait: Duration = 15_000
    repeat: Duration = 3_600_000
    enabled: bool = True
    absent: bool = False


class CaptureEntry(msgspec.Struct, kw_only=True):
    """A share of a route's requests that is kept as samples. It has no name, it is its route's."""

    route: str
    percent: Percent
    keep_days: int = 7
    absent: bool = False

    IDENTITY: ClassVar[tuple[str, ...]] = ("route",)

    @property
    def name(self) -> str:
        """What it is, for whoever lists entries."""
        return self.route


class RedactionEntry(msgspec.Struct, kw_only=True):
    """What is taken out of samples beyond the kinds that are built in. It has no name, it is its kind and its template."""

    kind: str
    template: str
    absent: bool = False

    IDENTITY: ClassVar[tuple[str, ...]] = ("kind", "template")

    @property
    def name(self) -> str:
        """What it is, as people write it on the page of captures."""
        return f"{self.kind} = {self.template}"


class SavedViewEntry(Entry, kw_only=True):
    """A page that a team keeps by a name. name: ``team/name``. url: its path and query."""

    url: str
    absent: bool = False
