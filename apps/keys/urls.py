"""Addresses of keys."""

from django.urls import path

from apps.keys import request_views, template_views, views

app_name = "keys"
urlpatterns = [
    path("keys/", views.ListView.as_view(), name="list"),
    path("keys/ask/", request_views.AskView.as_view(), name="ask"),
    path("keys/import/", template_views.ImportView.as_view(), name="import"),
    path("keys/requests/", request_views.RequestsView.as_view(), name="requests"),
    path("keys/requests/<uuid:asking_id>/", request_views.RequestView.as_view(), name="request"),
    path("keys/requests/<uuid:asking_id>/approve/", request_views.ApproveView.as_view(), name="approve"),
    path("keys/requests/<uuid:asking_id>/reject/", request_views.RejectView.as_view(), name="reject"),
    path("keys/requests/<uuid:asking_id>/withdraw/", request_views.WithdrawView.as_view(), name="withdraw"),
    path("keys/secrets/<uuid:handover_id>/", request_views.HandoverView.as_view(), name="handover"),
    path("keys/templates/", template_views.TemplatesView.as_view(), name="templates"),
    path("keys/templates/<uuid:team_id>/", template_views.TemplateView.as_view(), name="template"),
    path("keys/templates/<uuid:team_id>/delete/", template_views.TemplateDeleteView.as_view(), name="template_delete"),
    path("keys/new/", views.CreateView.as_view(), name="create"),
    path("keys/<uuid:key_id>/", views.DetailView.as_view(), name="detail"),
    path("keys/<uuid:key_id>/edit/", views.UpdateView.as_view(), name="edit"),
    path("keys/<uuid:key_id>/rotate/", views.RotateView.as_view(), name="rotate"),
    path("keys/<uuid:key_id>/disable/", views.DisableView.as_view(), name="disable"),
    path("keys/<uuid:key_id>/enable/", views.EnableView.as_view(), name="enable"),
    path("keys/<uuid:key_id>/revoke/", views.RevokeView.as_view(), name="revoke"),
    path("keys/<uuid:key_id>/first/", views.FirstRequestView.as_view(), name="first_request"),
]
