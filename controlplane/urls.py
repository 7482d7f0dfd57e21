"""The dashboard's addresses, one include per app."""

from django.urls import include, path

urlpatterns = [
    path("", include("apps.accounts.urls")),
    path("", include("apps.dashboard.urls")),
]
