"""Addresses of the config's history."""

from django.urls import path

from apps.publishing import views

app_name = "publishing"
urlpatterns = [
    path("config/<int:number>/undo/", views.UndoView.as_view(), name="undo"),
]
