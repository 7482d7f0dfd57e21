"""The lists of postmortems and action items: what their URLs ask for, their rows, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db.models import Q, QuerySet
from django.utils import timezone as clock

from apps.accounts.models import User
from apps.accounts.scope import Choice
from apps.postmortems import action_rules
from apps.postmortems import postmortem_choices as choices
from apps.postmortems.models import ActionItem, Factor, Postmortem
from apps.postmortems.postmortem_rules import due_state
from apps.postmortems.postmortem_selectors import postmortems
from apps.ui.status import Status
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build


def asked(query: Mapping[str, str], name: str = "q", longest: int = 200) -> str:
    """A parameter of the address, without what no text holds."""
    return query.get(name, "").replace("\x00", "").strip()[:longest]


def _time(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else ""


def due_status(row: Postmortem, now: datetime | None = None) -> Status | None:
    """Whether it is late; None where nobody waits for it."""
    if row.due_at is None:
        return None
    return choices.DUE[due_state(row.due_at, now or clock.now(), row.published_at)]


_POSTMORTEMS: tuple[Column[Postmortem], ...] = (
    Column("Postmortem", "incident", order=("incident__number",), value=lambda row: f"{row.incident.reference} {row.incident.title}"),
    Column("Severity", "severity", order=("incident__severity",), value=lambda row: row.incident.severity),
    Column("State", "state", order=("state",), value=lambda row: row.state),
    Column("Due", "due", order=("due_at",), value=lambda row: _time(row.due_at)),
    Column("Owner", "owner", order=("owner__name", "owner__email"), value=lambda row: row.owner.email if row.owner else ""),
    Column("Open actions", "actions", numeric=True, order=("open_actions",), value=lambda row: row.open_actions),  # type: ignore[attr-defined]
)


def postmortems_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[Postmortem]:
    """One page of postmortems, the latest incidents first; ``?state=draft&severity=sev1&factor=retry-storm``."""
    rows, chips = postmortems(choice.organisation), []
    state, severity, factor, text = (asked(query, name) for name in ("state", "severity", "factor", "q"))
    if state in choices.STATES:
        rows = rows.filter(state=state)
        chips.append(Chip("State", choices.STATES[state].label, "state"))
    if state == "overdue":
        rows = rows.exclude(state=choices.PUBLISHED).filter(due_at__lt=clock.now())
        chips.append(Chip("State", "Overdue", "state"))
    if severity:
        rows = rows.filter(incident__severity=severity)
        chips.append(Chip("Severity", severity.upper(), "severity"))
    if factor:
        tagged = Factor.objects.filter(organisation=choice.organisation, slug=factor).values("postmortems")
        rows = rows.filter(pk__in=tagged)
        chips.append(Chip("Factor", factor, "factor"))
    if text:
        named = Q(incident__title__icontains=text) | Q(texts__icontains=text) | Q(owner__email__icontains=text)
        if text.upper().removeprefix("INC-").isdigit():
            named |= Q(incident__number=int(text.upper().removeprefix("INC-")[:9]))
        rows = rows.filter(named)
        chips.append(Chip("Search", text, "q"))
    return listing_build(
        query, label="postmortems", columns=_POSTMORTEMS, rows=rows, default_sort="-incident",
        nothing_yet=Empty(
            "nothing-yet", "No postmortem yet",
            "One is begun by itself once an incident whose severity needs one is resolved. Any other incident's page has a button for it.",
        ),
        chips=chips,
    )  # fmt: skip


_ACTIONS: tuple[Column[ActionItem], ...] = (
    Column("Action", "action", order=("number",), value=lambda row: f"{row.reference} {row.title}"),
    Column("State", "state", order=("state", "due_on"), value=lambda row: row.state),
    Column("Priority", "priority", order=("priority", "due_on"), value=lambda row: row.priority),
    Column("Due", "due", order=("due_on",), value=lambda row: str(row.due_on)),
    Column("Owner", "owner", order=("owner__name", "owner__email"), value=lambda row: row.owner.email if row.owner else ""),
    Column("Check", "check", order=("verdict",), value=lambda row: row.verdict if row.check_kind else ""),
    Column("Of", "of", extra=True, value=lambda row: row.postmortem.incident.reference if row.postmortem else ""),
)


def actions_of(choice: Choice) -> QuerySet[ActionItem]:
    """An organisation's action items with owner and incident."""
    return ActionItem.objects.filter(organisation=choice.organisation).select_related("owner", "postmortem__incident", "organisation")


def actions_list(choice: Choice, query: Mapping[str, str], user: User, *, csv: bool = False) -> Listing[ActionItem]:
    """One page of action items, what is open and due first; ``?show=all&mine=1``."""
    rows, chips = actions_of(choice), []
    state, text = asked(query, "state"), asked(query)
    if state in action_rules.STATES:
        rows = rows.filter(state=state)
        chips.append(Chip("State", action_rules.STATES[state].label, "state"))
    elif state != "all":
        rows = rows.filter(state=action_rules.OPEN)
    if asked(query, "mine"):
        rows = rows.filter(owner=user)
        chips.append(Chip("Owner", "you", "mine"))
    if asked(query, "overdue"):
        rows = rows.filter(state=action_rules.OPEN, due_on__lt=clock.now().date())
        chips.append(Chip("Due", "overdue", "overdue"))
    if text:
        rows = rows.filter(Q(title__icontains=text) | Q(outcome__icontains=text) | Q(owner__email__icontains=text))
        chips.append(Chip("Search", text, "q"))
    return listing_build(
        query, label="actions", columns=_ACTIONS, rows=rows, default_sort="due",
        nothing_yet=Empty("nothing-yet", "Nothing is open", "Action items are made on the page of a postmortem, with an owner and a date."),
        chips=chips,
    )  # fmt: skip


def overdue(row: ActionItem, today: object | None = None) -> bool:
    """Whether an open one should have been done."""
    return row.state == action_rules.OPEN and row.due_on < (today or clock.now().date())  # type: ignore[operator]
