"""Addresses of incidents."""

from django.urls import path

from apps.postmortems import incident_action_views as acts
from apps.postmortems import incident_chat_views, incident_edit_views, incident_panel_views, incident_views

urlpatterns = [
    path("incidents/", incident_views.ListView.as_view(), name="list"),
    path("incidents/new/", incident_views.DeclareView.as_view(), name="declare"),
    path("incidents/severities/", incident_edit_views.SeveritiesView.as_view(), name="severities"),
    path("incidents/chat/", incident_edit_views.ChatSettingsView.as_view(), name="chat_settings"),
    path("incidents/chat/<slug:organisation>/", incident_chat_views.ChatView.as_view(), name="chat"),
    path("incidents/<uuid:incident_id>/", incident_views.DetailView.as_view(), name="detail"),
    path("incidents/<uuid:incident_id>/edit/", incident_edit_views.EditView.as_view(), name="edit"),
    path("incidents/<uuid:incident_id>/times/", incident_edit_views.TimesView.as_view(), name="times"),
    path("incidents/<uuid:incident_id>/impact/", incident_panel_views.ImpactView.as_view(), name="impact"),
    path("incidents/<uuid:incident_id>/changes/", incident_panel_views.ChangesView.as_view(), name="changes"),
    path("incidents/<uuid:incident_id>/help/", incident_panel_views.HelpView.as_view(), name="help"),
    path("incidents/<uuid:incident_id>/flips/<str:flag>/", incident_panel_views.FlipView.as_view(), name="flip"),
    path("incidents/<uuid:incident_id>/timeline/", incident_panel_views.TimelineView.as_view(), name="timeline"),
    path("incidents/<uuid:incident_id>/say/", acts.UpdateView.as_view(), name="say"),
    path("incidents/<uuid:incident_id>/note/", acts.NoteView.as_view(), name="note"),
    path("incidents/<uuid:incident_id>/acknowledge/", acts.TakeView.as_view(), name="acknowledge"),
    path("incidents/<uuid:incident_id>/roles/", acts.RolesView.as_view(), name="roles"),
    path("incidents/<uuid:incident_id>/merge/", incident_edit_views.MergeView.as_view(), name="merge"),
    path("incidents/<uuid:incident_id>/scope/", acts.ScopeView.as_view(), name="scope"),
    path("incidents/<uuid:incident_id>/window/", acts.WindowView.as_view(), name="window"),
    path("incidents/<uuid:incident_id>/measure/", acts.MeasureView.as_view(), name="measure"),
    path("incidents/<uuid:incident_id>/suspect/", acts.SuspectView.as_view(), name="suspect"),
    path("incidents/<uuid:incident_id>/entries/<uuid:entry_id>/pin/", acts.PinView.as_view(), name="pin"),
    path("incidents/<uuid:incident_id>/entries/<uuid:entry_id>/hide/", acts.HideView.as_view(), name="hide"),
    path("incidents/<uuid:incident_id>/entries/<uuid:entry_id>/file/", acts.AttachmentView.as_view(), name="file"),
]
