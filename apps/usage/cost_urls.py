"""Addresses of reconciliation and of the exports of costs."""

from django.urls import path

from apps.usage import focus_views, reconciliation_views

app_name = "costs"
urlpatterns = [
    path("costs/reconciliation/", reconciliation_views.ReconciliationsView.as_view(), name="reconciliations"),
    path("costs/reconciliation/import/", reconciliation_views.ReconciliationImportView.as_view(), name="reconciliation_import"),
    path("costs/reconciliation/<uuid:export_id>/", reconciliation_views.ReconciliationView.as_view(), name="reconciliation"),
    path(
        "costs/reconciliation/<uuid:export_id>/remove/",
        reconciliation_views.ReconciliationRemoveView.as_view(),
        name="reconciliation_remove",
    ),
    path("costs/export/", focus_views.ExportView.as_view(), name="export"),
    path("costs/export/focus.csv", focus_views.FileView.as_view(format="focus"), name="focus"),
    path("costs/export/showback.csv", focus_views.FileView.as_view(format="showback"), name="showback"),
]
