"""Addresses of signing in and out, and of an invitation's link."""

from django.urls import path

from apps.accounts.profile_views import AcceptView
from apps.accounts.views import LoginView, LogoutView

app_name = "accounts"

urlpatterns = [
    path("login/", LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("invitation/<str:token>/", AcceptView.as_view(), name="accept"),
]
