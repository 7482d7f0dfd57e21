from django.urls import path

from apps.ui import views

app_name = "ui"
urlpatterns = [
    path("preferences/theme", views.theme, name="theme"),
    path("preferences/zone", views.zone, name="zone"),
    path("ui/", views.catalogue, name="catalogue"),
    path("ui/live", views.catalogue_live, name="catalogue_live"),
    path("ui/try", views.catalogue_try, name="catalogue_try"),
    path("ui/palette", views.palette, name="palette"),
    path("ui/toasts", views.toasts, name="toasts"),
]
