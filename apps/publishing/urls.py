"""Addresses of the config's history."""

from django.urls import path

from apps.publishing import views

app_name = "publishing"
urlpatterns = [
    path("config/", views.HistoryView.as_view(), name="history"),
    path("config/proxies/", views.PropagationView.as_view(), name="propagation"),
    path("config/managed/<int:mark_id>/", views.ManagedView.as_view(), name="managed"),
    path("config/<int:number>/", views.VersionView.as_view(), name="version"),
    path("config/<int:number>/rollback/", views.RollbackView.as_view(), name="rollback"),
    path("config/<int:number>/undo/", views.UndoView.as_view(), name="undo"),
]
