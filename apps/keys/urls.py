"""Addresses of keys."""

from django.urls import path

from apps.keys import views

app_name = "keys"
urlpatterns = [
    path("keys/", views.ListView.as_view(), name="list"),
    path("keys/new/", views.CreateView.as_view(), name="create"),
    path("keys/<uuid:key_id>/", views.DetailView.as_view(), name="detail"),
    path("keys/<uuid:key_id>/edit/", views.UpdateView.as_view(), name="edit"),
    path("keys/<uuid:key_id>/rotate/", views.RotateView.as_view(), name="rotate"),
    path("keys/<uuid:key_id>/disable/", views.DisableView.as_view(), name="disable"),
    path("keys/<uuid:key_id>/enable/", views.EnableView.as_view(), name="enable"),
    path("keys/<uuid:key_id>/revoke/", views.RevokeView.as_view(), name="revoke"),
    path("keys/<uuid:key_id>/first/", views.FirstRequestView.as_view(), name="first_request"),
]
