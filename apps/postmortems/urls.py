"""Addresses of incidents and of what is learnt from them."""

from apps.postmortems.incident_urls import urlpatterns as incidents
from apps.postmortems.postmortem_urls import urlpatterns as learning

app_name = "postmortems"
urlpatterns = [*incidents, *learning]
