"""Addresses of workers and deployments."""

from django.urls import path

from apps.fleet import deployment_views, join_views, views

app_name = "fleet"
urlpatterns = [
    path("workers/", views.ListView.as_view(), name="workers"),
    path("workers/gpus/", views.GpusView.as_view(), name="gpus"),
    path("workers/events/", views.EventsView.as_view(), name="events"),
    path("workers/join/", join_views.JoinView.as_view(), name="join"),
    path("workers/join/<uuid:join_token_id>/revoke/", join_views.TokenRevokeView.as_view(), name="token_revoke"),
    path("workers/join/<uuid:join_token_id>/arrived/", join_views.ArrivedView.as_view(), name="arrived"),
    path("workers/<uuid:worker_id>/", views.DetailView.as_view(), name="worker"),
    path("workers/<uuid:worker_id>/mode/", views.ModeView.as_view(), name="worker_mode"),
    path("workers/<uuid:worker_id>/rotate/", views.RotateView.as_view(), name="worker_rotate"),
    path("workers/<uuid:worker_id>/remove/", views.RemoveView.as_view(), name="worker_remove"),
    path("deployments/", deployment_views.ListView.as_view(), name="deployments"),
    path("deployments/replicas/", deployment_views.ReplicasView.as_view(), name="replicas"),
    path("deployments/new/", deployment_views.CreateView.as_view(), name="deployment_create"),
    path("deployments/<uuid:deployment_id>/", deployment_views.DetailView.as_view(), name="deployment"),
    path("deployments/<uuid:deployment_id>/placement/", deployment_views.PlacementView.as_view(), name="deployment_placement"),
    path("deployments/<uuid:deployment_id>/edit/", deployment_views.UpdateView.as_view(), name="deployment_edit"),
    path("deployments/<uuid:deployment_id>/scale/", deployment_views.ScaleView.as_view(), name="deployment_scale"),
    path("deployments/<uuid:deployment_id>/restart/", deployment_views.RestartView.as_view(), name="deployment_restart"),
    path("deployments/<uuid:deployment_id>/delete/", deployment_views.DeleteView.as_view(), name="deployment_delete"),
    path("replicas/<uuid:replica_id>/replace/", deployment_views.ReplaceView.as_view(), name="replica_replace"),
    path("replicas/<uuid:replica_id>/log/", deployment_views.LogView.as_view(), name="replica_log"),
]
