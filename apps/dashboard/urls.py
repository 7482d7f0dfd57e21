from django.urls import path

from apps.dashboard import views
from apps.dashboard.views import panel_view

app_name = "dashboard"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("overview/verdict/", panel_view("verdict"), name="verdict"),
    path("overview/now/", panel_view("now"), name="now"),
    path("overview/traffic/", panel_view("traffic"), name="traffic"),
    path("overview/latency/", panel_view("latency"), name="latency"),
    path("requests/", views.requests, name="requests"),
    path("requests/<uuid:request_id>/", views.request, name="request"),
    path("overview/routes/", panel_view("routes"), name="routes"),
    path("overview/providers/", panel_view("providers"), name="providers"),
    path("overview/keys/", panel_view("keys"), name="keys"),
    path("spend/", views.spend, name="spend"),
    path("spend/budgets/", panel_view("budgets"), name="budgets"),
    path("spend/cost/", panel_view("cost"), name="cost"),
    path("proxies/", panel_view("proxies"), name="proxies"),
    path("healthz", views.healthz, name="healthz"),
]
