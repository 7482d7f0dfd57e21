"""Addresses of limits."""

from django.urls import path

from apps.budgets import limit_views as views

app_name = "limits"
urlpatterns = [
    path("limits/", views.ListView.as_view(), name="list"),
    path("limits/new/", views.CreateView.as_view(), name="create"),
    path("limits/<uuid:limit_id>/", views.DetailView.as_view(), name="detail"),
    path("limits/<uuid:limit_id>/use/", views.UseView.as_view(), name="use"),
    path("limits/<uuid:limit_id>/edit/", views.UpdateView.as_view(), name="edit"),
    path("limits/<uuid:limit_id>/delete/", views.DeleteView.as_view(), name="delete"),
]
