"""Addresses of performance budgets."""

from django.urls import path

from apps.budgets import performance_views as views

app_name = "performance"
urlpatterns = [
    path("performance-budgets/", views.ListView.as_view(), name="list"),
    path("performance-budgets/new/", views.CreateView.as_view(), name="create"),
    path("performance-budgets/verdict/", views.VerdictView.as_view(), name="verdict"),
    path("performance-budgets/<uuid:performance_id>/", views.DetailView.as_view(), name="detail"),
    path("performance-budgets/<uuid:performance_id>/edit/", views.UpdateView.as_view(), name="edit"),
    path("performance-budgets/<uuid:performance_id>/delete/", views.DeleteView.as_view(), name="delete"),
]
