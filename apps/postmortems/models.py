"""Everything that is kept of incidents and of what is learnt from them; defined in the files of each."""

from __future__ import annotations

from apps.postmortems.action_models import ActionItem
from apps.postmortems.checklist_models import ChecklistRun, ChecklistStep
from apps.postmortems.incident_models import (
    ChatCall,
    Incident,
    IncidentAttachment,
    IncidentChat,
    IncidentSeverity,
    IncidentUpdate,
    TimelineEntry,
)
from apps.postmortems.postmortem_models import (
    Factor,
    Postmortem,
    PostmortemEvidence,
    PostmortemSign,
    PostmortemTemplate,
    PostmortemText,
)
from apps.postmortems.status_models import StatusComponent, StatusPage

__all__ = [
    "ActionItem",
    "ChatCall",
    "ChecklistRun",
    "ChecklistStep",
    "Factor",
    "Incident",
    "IncidentAttachment",
    "IncidentChat",
    "IncidentSeverity",
    "IncidentUpdate",
    "Postmortem",
    "PostmortemEvidence",
    "PostmortemSign",
    "PostmortemTemplate",
    "PostmortemText",
    "StatusComponent",
    "StatusPage",
    "TimelineEntry",
]
