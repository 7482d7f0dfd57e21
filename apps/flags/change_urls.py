"""Addresses of flips that wait."""

from django.urls import path

from apps.flags import change_views as views

app_name = "changes"

urlpatterns = [
    path("changes/", views.ListView.as_view(), name="list"),
    path("changes/new/", views.AskView.as_view(), name="ask"),
    path("changes/badge/", views.BadgeView.as_view(), name="badge"),
    path("changes/stale/", views.StaleView.as_view(), name="stale"),
    path("changes/rules/", views.RulesView.as_view(), name="rules"),
    path("changes/rules/<uuid:rule_id>/remove/", views.RuleRemoveView.as_view(), name="rule_remove"),
    path("changes/<uuid:change_id>/", views.DetailView.as_view(), name="detail"),
    path("changes/<uuid:change_id>/approve/", views.ApproveView.as_view(), name="approve"),
    path("changes/<uuid:change_id>/reject/", views.RejectView.as_view(), name="reject"),
    path("changes/<uuid:change_id>/withdraw/", views.WithdrawView.as_view(), name="withdraw"),
    path("changes/<uuid:change_id>/review/", views.ReviewView.as_view(), name="review"),
]
