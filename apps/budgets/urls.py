"""Addresses of budgets."""

from django.urls import path

from apps.budgets import estimate_views, views

app_name = "budgets"
urlpatterns = [
    path("budgets/", views.ListView.as_view(), name="list"),
    path("budgets/new/", views.CreateView.as_view(), name="create"),
    path("budgets/subjects/", views.SubjectsView.as_view(), name="subjects"),
    path("budgets/estimate/", estimate_views.EstimateView.as_view(), name="estimate"),
    path("budgets/<uuid:budget_id>/", views.DetailView.as_view(), name="detail"),
    path("budgets/<uuid:budget_id>/edit/", views.UpdateView.as_view(), name="edit"),
    path("budgets/<uuid:budget_id>/delete/", views.DeleteView.as_view(), name="delete"),
    path("budgets/<uuid:budget_id>/override/", views.OverrideView.as_view(), name="override"),
    path("budgets/<uuid:budget_id>/override/end/", views.OverrideEndView.as_view(), name="override_end"),
]
