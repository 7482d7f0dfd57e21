"""Addresses of postmortems, action items, patterns, checklists and the status page."""

from django.urls import path

from apps.postmortems import (
    action_views,
    checklist_views,
    pattern_views,
    postmortem_edit_views,
    postmortem_template_views,
    postmortem_views,
    status_views,
)

urlpatterns = [
    path("postmortems/", postmortem_views.PostmortemsView.as_view(), name="postmortems"),
    path("postmortems/template/", postmortem_template_views.TemplateView.as_view(), name="template"),
    path("postmortems/factors/", postmortem_template_views.FactorsView.as_view(), name="factors"),
    path("postmortems/factors/new/", postmortem_template_views.FactorCreateView.as_view(), name="factor_create"),
    path("postmortems/factors/<uuid:factor_id>/edit/", postmortem_template_views.FactorUpdateView.as_view(), name="factor_edit"),
    path("postmortems/<uuid:postmortem_id>/", postmortem_views.PostmortemView.as_view(), name="postmortem"),
    path("postmortems/<uuid:postmortem_id>/edit/", postmortem_edit_views.EditorView.as_view(), name="postmortem_edit"),
    path("postmortems/<uuid:postmortem_id>/hold/", postmortem_edit_views.HoldView.as_view(), name="postmortem_hold"),
    path("postmortems/<uuid:postmortem_id>/facts/", postmortem_edit_views.FactsView.as_view(), name="postmortem_facts"),
    path("postmortems/<uuid:postmortem_id>/draft/", postmortem_edit_views.DraftView.as_view(), name="postmortem_draft"),
    path("postmortems/<uuid:postmortem_id>/export/", postmortem_views.ExportView.as_view(), name="postmortem_export"),
    path("postmortems/<uuid:postmortem_id>/evidence/", postmortem_views.EvidenceTakeView.as_view(), name="evidence_take"),
    path(
        "postmortems/<uuid:postmortem_id>/evidence/<int:take>/<slug:query>/", postmortem_views.EvidenceSheetView.as_view(), name="evidence"
    ),
    path("postmortems/<uuid:postmortem_id>/texts/<uuid:text_id>/", postmortem_views.TextView.as_view(), name="postmortem_text"),
    path("postmortems/<uuid:postmortem_id>/submit/", postmortem_views.SubmitView.as_view(), name="postmortem_submit"),
    path("postmortems/<uuid:postmortem_id>/sign/", postmortem_views.SignView.as_view(), name="postmortem_sign"),
    path("postmortems/<uuid:postmortem_id>/publish/", postmortem_views.PublishView.as_view(), name="postmortem_publish"),
    path("postmortems/<uuid:postmortem_id>/reopen/", postmortem_views.ReopenView.as_view(), name="postmortem_reopen"),
    path("incidents/<uuid:incident_id>/postmortem/", postmortem_views.PostmortemStartView.as_view(), name="postmortem_start"),
    path("incidents/<uuid:incident_id>/checklists/", checklist_views.ChecklistStartView.as_view(), name="checklist_start"),
    path("checklists/<uuid:run_id>/", checklist_views.ChecklistView.as_view(), name="checklist"),
    path("checklists/<uuid:run_id>/step/", checklist_views.ChecklistStepView.as_view(), name="checklist_step"),
    path("checklists/<uuid:run_id>/end/", checklist_views.ChecklistEndView.as_view(), name="checklist_end"),
    path("actions/", action_views.ActionsView.as_view(), name="actions"),
    path("actions/new/", action_views.ActionCreateView.as_view(), name="action_create"),
    path("actions/<uuid:action_id>/", action_views.ActionPageView.as_view(), name="action"),
    path("actions/<uuid:action_id>/edit/", action_views.ActionUpdateView.as_view(), name="action_edit"),
    path("actions/<uuid:action_id>/done/", action_views.ActionDoneView.as_view(), name="action_done"),
    path("actions/<uuid:action_id>/decline/", action_views.ActionDeclineView.as_view(), name="action_decline"),
    path("actions/<uuid:action_id>/reopen/", action_views.ActionReopenView.as_view(), name="action_reopen"),
    path("patterns/", pattern_views.PatternsView.as_view(), name="patterns"),
    path("status-page/", status_views.StatusSettingsView.as_view(), name="status_settings"),
    path("status/<slug:slug>/", status_views.StatusView.as_view(), name="status"),
]
