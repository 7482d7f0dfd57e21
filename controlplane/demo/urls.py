from django.urls import path

from apps.dashboard.views import panel_view
from controlplane.demo import views

app_name = "demo"
urlpatterns = [
    path("panel/", panel_view("demo"), name="panel"),
    path("break/", views.demo_break, name="break"),
    path("switch/", views.demo_switch, name="switch"),
    path("undo/", views.demo_undo, name="undo"),
    path("traffic/", views.demo_traffic, name="traffic"),
    path("remove/", views.remove, name="remove"),
    path("remove/progress/", views.progress, name="progress"),
]
