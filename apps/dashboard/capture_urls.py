"""Addresses of captures."""

from django.urls import path

from apps.dashboard import capture_views as views

app_name = "captures"
urlpatterns = [
    path("captures/", views.CapturesView.as_view(), name="list"),
    path("captures/route/", views.RouteView.as_view(), name="route"),
    path("captures/key/", views.KeyView.as_view(), name="key"),
    path("captures/patterns/", views.PatternsView.as_view(), name="patterns"),
    path("captures/<uuid:capture_id>/end/", views.EndView.as_view(), name="end"),
    path("requests/<uuid:request_id>/sample/", views.SampleView.as_view(), name="sample"),
]
