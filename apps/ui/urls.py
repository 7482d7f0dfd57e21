from django.urls import path

from apps.ui import views

app_name = "ui"
urlpatterns = [
    path("preferences/theme", views.theme, name="theme"),
    path("preferences/zone", views.zone, name="zone"),
    path("ui/palette", views.palette, name="palette"),
    path("ui/toasts", views.toasts, name="toasts"),
]
