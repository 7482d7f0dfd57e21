"""Addresses of flags."""

from django.urls import path

from apps.flags import flip_views, owner_views, views

app_name = "flags"
urlpatterns = [
    path("flags/", views.ListView.as_view(), name="list"),
    path("flags/new/", views.CreateView.as_view(), name="create"),
    path("overrides/", views.OverridesView.as_view(), name="overrides"),
    path("flags/<str:flag>/", views.DetailView.as_view(), name="detail"),
    path("flags/<str:flag>/on/", flip_views.OnView.as_view(), name="on"),
    path("flags/<str:flag>/off/", flip_views.OffView.as_view(), name="off"),
    path("flags/<str:flag>/owner/", owner_views.OwnerView.as_view(), name="owner"),
    path("flags/<str:flag>/edit/", views.UpdateView.as_view(), name="edit"),
    path("flags/<str:flag>/delete/", views.DeleteView.as_view(), name="delete"),
    path("flags/<str:flag>/watch/", views.WatchView.as_view(), name="watch"),
    path("flags/<str:flag>/spread/", views.SpreadView.as_view(), name="spread"),
]
