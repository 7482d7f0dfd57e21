"""The dashboard's addresses, one include per app, and who draws the error pages."""

from django.urls import include, path

from apps.dashboard.connect import ConnectView
from apps.providers.urls import urlpatterns as providers
from controlplane.api_schema import ApiPageView

urlpatterns = [
    path("", include("apps.accounts.urls")),
    path("", include("apps.ui.urls")),
    path("", include("apps.publishing.urls")),
    path("", include("apps.accounts.audit_urls")),
    path("", include("apps.dashboard.settings_urls")),
    path("", include("apps.keys.urls")),
    path("", include("apps.routes.urls")),
    path("", include("apps.fleet.urls")),
    path("", include("apps.budgets.urls")),
    path("", include("apps.budgets.limit_urls")),
    path("", include("apps.budgets.performance_urls")),
    path("providers/", include(([*providers, path("connect/", ConnectView.as_view(), name="connect")], "providers"))),
    path("", include("apps.prices.urls")),
    path("", include("apps.catalogue.urls")),
    path("", include("apps.budgets.review_urls")),
    path("", include("apps.usage.cost_urls")),
    path("", include("apps.dashboard.urls")),
    path("", include("apps.dashboard.capture_urls")),
    path("", include("apps.ownership.urls")),
    path("", include("apps.flags.urls")),
    path("", include("apps.flags.change_urls")),
    path("", include("apps.flags.ofrep_urls")),
    path("", include("apps.alerts.urls")),
    path("", include("apps.postmortems.urls")),
    path("", include("controlplane.metrics.urls")),
    path("demo/", include("controlplane.demo.urls")),
    path("settings/api/", ApiPageView.as_view(), name="api-reference"),
    path("api/v1/", include("controlplane.api_urls")),
]

handler400 = "controlplane.api_errors.bad_request"
handler403 = "controlplane.api_errors.forbidden"
handler404 = "controlplane.api_errors.not_found"
handler500 = "controlplane.api_errors.server_error"
