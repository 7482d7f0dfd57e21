"""Addresses of Settings."""

from django.urls import path

from apps.accounts import people_views as people
from apps.accounts import profile_views as profile
from apps.accounts import token_views as tokens
from apps.dashboard import settings_views as views
from apps.dashboard import storage_views

app_name = "settings"
urlpatterns = [
    path("settings/", views.IndexView.as_view(), name="index"),
    path("settings/profile/", profile.ProfileView.as_view(), name="profile"),
    path("settings/tokens/", tokens.TokensView.as_view(), name="tokens"),
    path("settings/organisation/", profile.OrganisationView.as_view(), name="organisation"),
    path("settings/installation/", views.InstallationView.as_view(), name="installation"),
    path("settings/storage/", storage_views.StorageView.as_view(), name="storage"),
    path("settings/people/", people.PeopleView.as_view(), name="people"),
    path("settings/people/invite/", people.InviteView.as_view(), name="invite"),
    path("settings/people/invitations/<uuid:pk>/renew/", people.InvitationView.as_view(act="renew"), name="invitation-renew"),
    path("settings/people/invitations/<uuid:pk>/revoke/", people.InvitationView.as_view(act="revoke"), name="invitation-revoke"),
    path("settings/people/<uuid:pk>/", people.PersonView.as_view(), name="person"),
    path("settings/people/<uuid:pk>/team/", people.PersonTeamView.as_view(), name="person-team"),
    path("settings/people/<uuid:pk>/disable/", people.PersonActionView.as_view(act="disable"), name="person-disable"),
    path("settings/people/<uuid:pk>/enable/", people.PersonActionView.as_view(act="enable"), name="person-enable"),
    path("settings/people/<uuid:pk>/password-link/", people.PersonActionView.as_view(act="password-link"), name="person-password-link"),
    path("settings/people/<uuid:pk>/remove/", people.PersonActionView.as_view(act="remove"), name="person-remove"),
]
