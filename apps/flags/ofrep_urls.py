"""Addresses of the OpenFeature Remote Evaluation Protocol."""

from django.urls import path

from apps.flags import ofrep_views as views

app_name = "ofrep"

urlpatterns = [
    path("ofrep/v1/evaluate/flags", views.flags, name="flags"),
    path("ofrep/v1/evaluate/flags/<path:key>", views.flag, name="flag"),
]
