"""Addresses of providers. ``controlplane/urls.py`` adds ``connect/``, whose page also makes routes and so lives above this app."""

from django.urls import path

from apps.providers import credential_writes, views, writes

urlpatterns = [
    path("", views.ListView.as_view(), name="list"),
    path("new/", writes.ProviderCreate.as_view(), name="create"),
    path("credentials/", views.CredentialsView.as_view(), name="credentials"),
    path("credentials/new/", credential_writes.CredentialAdd.as_view(), name="credential_add"),
    path("credentials/<uuid:credential_id>/rotate/", credential_writes.CredentialRotate.as_view(), name="credential_rotate"),
    path("credentials/<uuid:credential_id>/remove/", credential_writes.CredentialRemove.as_view(), name="credential_remove"),
    path("<uuid:provider_id>/", views.DetailView.as_view(), name="detail"),
    path("<uuid:provider_id>/models/", views.ModelsView.as_view(), name="models"),
    path("<uuid:provider_id>/models/new/", writes.PriceAdd.as_view(), name="price_add"),
    path("<uuid:provider_id>/models/<uuid:model_id>/price/", writes.PriceEdit.as_view(), name="price"),
    path("<uuid:provider_id>/models/<uuid:model_id>/remove/", writes.ModelRemove.as_view(), name="model_remove"),
    path("<uuid:provider_id>/history/", views.HistoryView.as_view(), name="history"),
    path("<uuid:provider_id>/edit/", writes.ProviderEdit.as_view(), name="edit"),
    path("<uuid:provider_id>/check/", writes.ProviderCheck.as_view(), name="check"),
    path("<uuid:provider_id>/disable/", writes.ProviderDisable.as_view(), name="disable"),
    path("<uuid:provider_id>/enable/", writes.ProviderEnable.as_view(), name="enable"),
    path("<uuid:provider_id>/remove/", writes.ProviderRemove.as_view(), name="remove"),
]
