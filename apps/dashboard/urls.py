from django.urls import path

from apps.dashboard import board_views, playground_views, saved_pages, spend_views, views
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
    path("dashboards/", board_views.BoardView.as_view(), name="boards"),
    path("dashboards/views/", saved_pages.SavedViewsView.as_view(), name="saved_views"),
    path("dashboards/views/<uuid:view_id>/delete/", saved_pages.SavedViewDeleteView.as_view(), name="saved_view_delete"),
    path("dashboards/panels/<str:panel>/", board_views.BoardPanelView.as_view(), name="boards_panel"),
    path("dashboards/<str:kind>/", board_views.BoardView.as_view(), name="board"),
    path("dashboards/<str:kind>/panels/<str:panel>/", board_views.BoardPanelView.as_view(), name="board_panel"),
    path("overview/routes/", panel_view("routes"), name="routes"),
    path("overview/providers/", panel_view("providers"), name="providers"),
    path("overview/keys/", panel_view("keys"), name="keys"),
    path("spend/", spend_views.OverviewView.as_view(), name="spend"),
    path("spend/by/", spend_views.ByView.as_view(), name="spend_breakdown"),
    path("spend/by/<str:dimension>/", spend_views.ByView.as_view(), name="spend_by"),
    path("spend/waste/", spend_views.WasteView.as_view(), name="spend_waste"),
    path("spend/forecast/", spend_views.ForecastView.as_view(), name="spend_forecast"),
    path("spend/anomalies/", spend_views.AnomaliesView.as_view(), name="spend_anomalies"),
    path("spend/anomalies/<uuid:anomaly_id>/acknowledge/", spend_views.AcknowledgeView.as_view(), name="spend_anomaly_acknowledge"),
    path("spend/budgets/", panel_view("budgets"), name="budgets"),
    path("spend/cost/", panel_view("cost"), name="cost"),
    path("playground/", playground_views.PlaygroundView.as_view(), name="playground"),
    path("playground/told/", playground_views.ToldView.as_view(), name="playground_told"),
    path("proxies/", panel_view("proxies"), name="proxies"),
    path("healthz", views.healthz, name="healthz"),
]
