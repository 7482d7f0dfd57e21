"""Addresses of the audit log."""

from django.urls import path

from apps.accounts import audit_views

app_name = "audit"
urlpatterns = [
    path("audit/", audit_views.AuditLogView.as_view(), name="log"),
    path("audit/check/", audit_views.ChainCheckView.as_view(), name="check"),
    path("audit/<int:seq>/", audit_views.AuditEventView.as_view(), name="event"),
]
