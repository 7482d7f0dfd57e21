"""Addresses of ownership."""

from django.urls import path

from apps.ownership import owner_views as owners
from apps.ownership import rotation_views as rotations
from apps.ownership import runbook_views as runbooks
from apps.ownership import service_views as services
from apps.ownership import sla_views as slas
from apps.ownership import views

app_name = "ownership"
urlpatterns = [
    path("ownership/", views.MapView.as_view(), name="map"),
    path("ownership/regions/", views.RegionsView.as_view(), name="regions"),
    path("ownership/of/<slug:thing>/<uuid:object_id>/", owners.OwnerOfView.as_view(), name="of"),
    path("ownership/unowned/", views.UnownedView.as_view(), name="unowned"),
    path("ownership/assign/", views.AssignView.as_view(), name="assign"),
    path("ownership/teams/", views.TeamsView.as_view(), name="teams"),
    path("ownership/teams/new/", views.TeamCreateView.as_view(), name="team_create"),
    path("ownership/teams/<uuid:team_id>/", views.TeamView.as_view(), name="team"),
    path("ownership/teams/<uuid:team_id>/edit/", views.TeamUpdateView.as_view(), name="team_edit"),
    path("ownership/teams/<uuid:team_id>/delete/", views.TeamDeleteView.as_view(), name="team_delete"),
    path("ownership/teams/<uuid:team_id>/people/", views.TeamPeopleView.as_view(), name="team_people"),
    path("ownership/teams/<uuid:team_id>/sla/", slas.TeamSlaView.as_view(), name="team_sla"),
    path("ownership/teams/<uuid:team_id>/services/new/", services.ServiceCreateView.as_view(), name="service_create"),
    path("ownership/services/<uuid:service_id>/", services.ServiceView.as_view(), name="service"),
    path("ownership/services/<uuid:service_id>/edit/", services.ServiceUpdateView.as_view(), name="service_edit"),
    path("ownership/services/<uuid:service_id>/delete/", services.ServiceDeleteView.as_view(), name="service_delete"),
    path("ownership/services/<uuid:service_id>/sla/", slas.ServiceSlaView.as_view(), name="service_sla"),
    path("ownership/slas/<uuid:sla_id>/", slas.SlaView.as_view(), name="sla"),
    path("ownership/slas/<uuid:sla_id>/delete/", slas.SlaDeleteView.as_view(), name="sla_delete"),
    path("ownership/rotations/", rotations.RotationsView.as_view(), name="rotations"),
    path("ownership/rotations/new/", rotations.RotationCreateView.as_view(), name="rotation_create"),
    path("ownership/rotations/<uuid:rotation_id>/", rotations.RotationView.as_view(), name="rotation"),
    path("ownership/rotations/<uuid:rotation_id>/edit/", rotations.RotationUpdateView.as_view(), name="rotation_edit"),
    path("ownership/rotations/<uuid:rotation_id>/delete/", rotations.RotationDeleteView.as_view(), name="rotation_delete"),
    path("ownership/rotations/<uuid:rotation_id>/override/", rotations.OverrideView.as_view(), name="override"),
    path(
        "ownership/rotations/<uuid:rotation_id>/override/<uuid:override_id>/end/", rotations.OverrideEndView.as_view(), name="override_end"
    ),
    path("ownership/runbooks/", runbooks.RunbooksView.as_view(), name="runbooks"),
    path("ownership/runbooks/new/", runbooks.RunbookCreateView.as_view(), name="runbook_create"),
    path("ownership/runbooks/<uuid:runbook_id>/", runbooks.RunbookView.as_view(), name="runbook"),
    path("ownership/runbooks/<uuid:runbook_id>/edit/", runbooks.RunbookUpdateView.as_view(), name="runbook_edit"),
    path("ownership/runbooks/<uuid:runbook_id>/review/", runbooks.RunbookReviewView.as_view(), name="runbook_review"),
    path("ownership/runbooks/<uuid:runbook_id>/delete/", runbooks.RunbookDeleteView.as_view(), name="runbook_delete"),
]
