"""The lists of alerts, rules, SLOs, channels, silences and deliveries: what their URLs ask for, their rows, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db.models import Q
from django.urls import reverse
from django.utils import timezone as clock

from apps.accounts.scope import Choice
from apps.alerts import channel_choices, choices
from apps.alerts.channel_models import Delivery
from apps.alerts.models import Alert, AlertRule, Silence, Slo
from apps.alerts.selectors import alerts, rules, silences, slos
from apps.alerts.series import SERIES, threshold_text, value_text
from apps.alerts.wording import about_text
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build

SHOWS = {"open": "Open", "all": "All"}


def asked(query: Mapping[str, str], name: str = "q", longest: int = 200) -> str:
    """A parameter of the address, without what no text holds."""
    return query.get(name, "").replace("\x00", "").strip()[:longest]


def _time(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else ""


_ALERTS: tuple[Column[Alert], ...] = (
    Column("Alert", "alert", order=("rule__title", "subject"), value=lambda row: row.rule.title),
    Column("About", "about", order=("by", "subject"), value=about_text),
    Column("State", "state", order=("state_rank", "severity_rank"), value=lambda row: row.state),
    Column("Severity", "severity", order=("severity_rank",), value=lambda row: row.severity),
    Column("Measured", numeric=True, value=lambda row: value_text(SERIES[row.rule.series], row.value)),
    Column("Since", "since", order=("started_at",), value=lambda row: _time(row.started_at)),
    Column("Owner", "owner", order=("rule__owner__name",), value=lambda row: row.rule.owner.name if row.rule.owner else ""),
)
_ALERTS_CSV: tuple[Column[Alert], ...] = (
    *_ALERTS,
    Column("Threshold", value=lambda row: value_text(SERIES[row.rule.series], row.threshold)),
    Column("Resolved", value=lambda row: _time(row.resolved_at)),
    Column("Acknowledged by", value=lambda row: row.acked_by),
    Column("Silenced until", value=lambda row: _time(row.silenced_until)),
)


def alerts_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[Alert]:
    """One page of alerts, what fires first: two queries. ``?show=all`` has those that are over, too, but none that never fired."""
    rows = alerts(choice.organisation).exclude(state=choices.RESOLVED, fired_at=None)
    chips = []
    if asked(query, "show") != "all":
        rows = rows.exclude(state=choices.RESOLVED)
    state, severity, team, text = (asked(query, name) for name in ("state", "severity", "team", "q"))
    if state in choices.STATES:
        rows = rows.filter(state=state)
        chips.append(Chip("State", choices.STATES[state].label, "state"))
    if severity in choices.SEVERITIES:
        rows = rows.filter(severity=severity)
        chips.append(Chip("Severity", choices.SEVERITIES[severity].label, "severity"))
    if team:
        rows = rows.filter(rule__owner__slug=team)
        chips.append(Chip("Team", team, "team"))
    if text:
        rows = rows.filter(Q(rule__title__icontains=text) | Q(rule__name__icontains=text) | Q(subject__icontains=text))
        chips.append(Chip("Search", text, "q"))
    return listing_build(
        query,
        label="alerts",
        columns=_ALERTS_CSV if csv else _ALERTS,
        rows=rows,
        default_sort="state",
        nothing_yet=Empty("nothing-yet", "Nothing fires", "Rules are looked at once a minute; what they find stands here."),
        chips=chips,
    )


_RULES: tuple[Column[AlertRule], ...] = (
    Column("Rule", "rule", order=("title",), value=lambda row: row.title),
    Column("Looks at", "series", value=lambda row: SERIES[row.series].label),
    Column("Of", "by", order=("scope",), value=lambda row: ", ".join(row.values) or choices.SCOPES[row.by]),
    Column("Warning", numeric=True, value=lambda row: threshold_text(SERIES[row.series], row.comparison, row.warn)),
    Column("Critical", numeric=True, value=lambda row: threshold_text(SERIES[row.series], row.comparison, row.critical)),
    Column("Open", "firing", numeric=True, value=lambda row: row.firing, help="Alerts of it that fire or are acknowledged."),  # type: ignore[attr-defined]
    Column("Owner", "owner", order=("owner__name",), value=lambda row: row.owner.name if row.owner else ""),
    Column("On", "enabled", value=lambda row: "on" if row.enabled else "off"),
)


def rules_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[AlertRule]:
    """One page of rules: two queries."""
    rows, text, series, chips = rules(choice.organisation), asked(query), asked(query, "series"), []
    if series in SERIES:
        rows = rows.filter(series=series)
        chips.append(Chip("Looks at", SERIES[series].label, "series"))
    if text:
        rows = rows.filter(Q(title__icontains=text) | Q(name__icontains=text) | Q(owner__name__icontains=text))
        chips.append(Chip("Search", text, "q"))
    return listing_build(
        query,
        label="rules",
        columns=_RULES,
        rows=rows,
        default_sort="rule",
        nothing_yet=Empty(
            "nothing-yet",
            "No rule yet",
            "The usual rules are made by the first evaluation, a minute or two after the start. Others are yours to make.",
            reverse("alerts:rule_create") if choice.may("alert_rule.change") else "",
            "Make a rule",
        ),
        chips=chips,
    )


_SLOS: tuple[Column[Slo], ...] = (
    Column("SLO", "slo", order=("title",), value=lambda row: row.title),
    Column("Promise", value=lambda row: f"{row.objective_text} % {row.get_indicator_display().lower()}"),
    Column("Of", "by", order=("by", "subject"), value=lambda row: f"{row.by} {row.subject}".strip() or "everything"),
    Column("Over", "window", order=("window_days",), value=lambda row: choices.SLO_WINDOWS[row.window_days]),
    Column("Budget left", numeric=True),
    Column("Burns", numeric=True, help="Times the rate that uses the budget up exactly at the window's end, over the last hour."),
    Column("Owner", "owner", order=("owner__name",), value=lambda row: row.owner.name if row.owner else ""),
)


def slos_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[Slo]:
    """One page of SLOs: two queries; what is left of their budgets is the view's."""
    rows, text = slos(choice.organisation), asked(query)
    if text:
        rows = rows.filter(Q(title__icontains=text) | Q(name__icontains=text) | Q(subject__icontains=text))
    return listing_build(
        query,
        label="SLOs",
        columns=_SLOS,
        rows=rows,
        default_sort="slo",
        nothing_yet=Empty(
            "nothing-yet",
            "No SLO yet",
            "It promises a share of requests over some days; alerts come when its error budget burns too fast.",
            reverse("alerts:slo_create") if choice.may("slo.change") else "",
            "Make an SLO",
        ),
        chips=[Chip("Search", text, "q")] if text else [],
    )


_SILENCES: tuple[Column[Silence], ...] = (
    Column("What", value=lambda row: silence_words(row)),
    Column("From", "from", order=("starts_at",), value=lambda row: _time(row.starts_at)),
    Column("Until", "until", value=lambda row: _time(row.ended_at or row.until)),
    Column("By", "by", value=lambda row: row.by),
    Column("Reason", value=lambda row: row.reason),
)


def silences_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[Silence]:
    """One page of silences, those that hold first: two queries."""
    return listing_build(
        query,
        label="silences",
        columns=(Column("Holds", "holds", order=("in_force", "starts_at")), *_SILENCES),
        rows=silences(choice.organisation),
        default_sort="-holds",
        nothing_yet=Empty("nothing-yet", "Nothing is silenced", "A silence keeps people from being told; alerts fire all the same."),
    )


def silence_words(row: Silence) -> str:
    """What it silences."""
    if row.alert is not None:
        about = about_text(row.alert)
        return f"one alert: {row.alert.rule.title}{f', {about}' if about else ''}"
    labels = row.matcher.get("labels") or {}
    parts = [f"{name} {row.matcher[name]}" for name in ("rule", "subject", "severity") if row.matcher.get(name)]
    return ", ".join([*parts, *(f"{name} = {value}" for name, value in labels.items())])


_DELIVERIES: tuple[Column[Delivery], ...] = (
    Column("When", "when", order=("created_at",), value=lambda row: _time(row.created_at)),
    Column("To", "to", order=("name",), value=lambda row: row.name),
    Column("What", "what", value=lambda row: channel_choices.WHATS[row.what]),
    Column("About", value=lambda row: row.message.get("title", "")),
    Column("State", "state", value=lambda row: row.state),
    Column("Tries", "tries", numeric=True, value=lambda row: row.tries),
    Column("Said", value=lambda row: row.told),
)


def deliveries_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[Delivery]:
    """One page of deliveries, the newest first: two queries."""
    rows = Delivery.objects.filter(organisation=choice.organisation).select_related("channel", "alert")
    state, text, chips = asked(query, "state"), asked(query), []
    if state in channel_choices.STATES:
        rows = rows.filter(state=state)
        chips.append(Chip("State", channel_choices.STATES[state].label, "state"))
    if text:
        rows = rows.filter(Q(name__icontains=text) | Q(message__title__icontains=text))
        chips.append(Chip("Search", text, "q"))
    return listing_build(
        query,
        label="deliveries",
        columns=_DELIVERIES,
        rows=rows,
        default_sort="-when",
        nothing_yet=Empty("nothing-yet", "Nobody was told anything yet", "Every message to somebody stands here, with what became of it."),
        chips=chips,
    )


def holds_now(row: Silence) -> bool:
    """Whether a silence is in force at this moment."""
    return row.holds(clock.now())
