"""What postmortems and runbooks add elsewhere: panels of an incident's page, what keeps an incident from being closed, the command
palette."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, OuterRef, Q, Subquery

from apps.accounts.palette_objects import Objects, objects_source
from apps.accounts.scope import Choice
from apps.postmortems import postmortem_choices as choices
from apps.postmortems.checklist_views import checklist_panel
from apps.postmortems.incident_choices import MEANINGS
from apps.postmortems.incident_followers import register_closing, register_panel
from apps.postmortems.incident_selectors import severities_of
from apps.postmortems.models import ActionItem, Incident, IncidentSeverity, Postmortem
from apps.postmortems.postmortem_tables import due_status

learning_for_palette = objects_source(
    Objects("postmortem", Postmortem, "postmortem.view", "postmortems:postmortem", "file", ("incident__title",)),
    Objects("action item", ActionItem, "postmortem.view", "postmortems:action", "check", ("title",)),
)


def postmortem_left(incident: Incident) -> list[str]:
    """What has to be done before an incident is closed: two queries."""
    if not severities_of(incident.organisation)[incident.severity].postmortem:
        return []
    if Postmortem.objects.filter(incident=incident, state=choices.PUBLISHED).exists():
        return []
    return [f"publish its postmortem: {incident.severity.upper()} needs one"]


def postmortem_panel(incident: Incident, choice: Choice) -> dict[str, Any]:
    """The postmortem on an incident's page: one query."""
    own = IncidentSeverity.objects.filter(organisation=OuterRef("organisation"), level=OuterRef("severity")).values("postmortem")
    still = Count("postmortem__actions", filter=Q(postmortem__actions__state="open"))
    rows = Incident.objects.filter(pk=incident.pk).select_related("postmortem").defer(
        "postmortem__texts", "postmortem__sections", "postmortem__draft"
    )  # fmt: skip
    found: Any = rows.annotate(own_rule=Subquery(own), still=still).get()
    row: Postmortem | None = getattr(found, "postmortem", None)
    needs = MEANINGS[incident.severity].postmortem if found.own_rule is None else found.own_rule
    return {
        "postmortem": row,
        "due": due_status(row) if row else None,
        "open_actions": found.still,
        "needed": row is None and needs,
        "may_change": choice.may("postmortem.change") and incident.state not in ("cancelled", "merged"),
    }


def register() -> None:
    """Called once the apps are ready."""
    register_closing("postmortem", postmortem_left)
    register_panel("postmortem", "postmortems/panel_postmortem.html", postmortem_panel)
    register_panel("runbooks", "postmortems/panel_checklists.html", checklist_panel)
