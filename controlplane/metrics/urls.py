"""What Prometheus asks of the web process."""

from django.urls import path

from controlplane.metrics import views

app_name = "metrics"

urlpatterns = [
    path("metrics", views.scrape, name="scrape"),
    path("metrics/targets", views.targets, name="targets"),
]
