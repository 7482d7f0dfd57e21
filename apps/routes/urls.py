"""Addresses of routes."""

from django.urls import path

from apps.routes import views

app_name = "routes"
urlpatterns = [
    path("routes/", views.ListView.as_view(), name="list"),
    path("routes/new/", views.CreateView.as_view(), name="create"),
    path("routes/<uuid:route_id>/", views.DetailView.as_view(), name="detail"),
    path("routes/<uuid:route_id>/edit/", views.UpdateView.as_view(), name="edit"),
    path("routes/<uuid:route_id>/disable/", views.DisableView.as_view(), name="disable"),
    path("routes/<uuid:route_id>/enable/", views.EnableView.as_view(), name="enable"),
    path("routes/<uuid:route_id>/switch/", views.SwitchView.as_view(), name="switch"),
    path("routes/<uuid:route_id>/switch/back/", views.SwitchBackView.as_view(), name="switch_back"),
    path("routes/<uuid:route_id>/breaker/", views.BreakerForceView.as_view(), name="breaker_force"),
    path("routes/<uuid:route_id>/breaker/release/", views.BreakerReleaseView.as_view(), name="breaker_release"),
    path("routes/<uuid:route_id>/standing/", views.StandingView.as_view(), name="standing"),
    path("routes/<uuid:route_id>/spread/", views.SpreadView.as_view(), name="spread"),
]
