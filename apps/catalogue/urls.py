"""Addresses of the catalogue of models."""

from django.urls import include, path

from apps.catalogue import views, writes

catalogue = [
    path("", views.ListView.as_view(), name="list"),
    path("listed/", views.ListedView.as_view(), name="listed"),
    path("notices/", views.NoticesView.as_view(), name="notices"),
    path("new/", writes.OverrideAdd.as_view(), name="add"),
    path("<uuid:model_id>/", views.ModelView.as_view(), name="model"),
    path("<uuid:model_id>/edit/", writes.OverrideEdit.as_view(), name="edit"),
    path("<uuid:model_id>/clear/", writes.OverrideClear.as_view(), name="clear"),
]

urlpatterns = [path("models/", include((catalogue, "catalogue")))]
