"""The dashboard's addresses, one include per app, and who draws the error pages."""

from django.urls import include, path

from apps.dashboard.connect import ConnectView
from apps.providers.urls import urlpatterns as providers

urlpatterns = [
    path("", include("apps.accounts.urls")),
    path("", include("apps.ui.urls")),
    path("", include("apps.publishing.urls")),
    path("", include("apps.accounts.audit_urls")),
    path("", include("apps.dashboard.settings_urls")),
    path("", include("apps.keys.urls")),
    path("", include("apps.routes.urls")),
    path("", include("apps.budgets.urls")),
    path("", include("apps.budgets.limit_urls")),
    path("", include("apps.budgets.performance_urls")),
    path("providers/", include(([*providers, path("connect/", ConnectView.as_view(), name="connect")], "providers"))),
    path("", include("apps.prices.urls")),
    path("", include("apps.budgets.review_urls")),
    path("", include("apps.usage.cost_urls")),
    path("", include("apps.dashboard.urls")),
    path("", include("apps.flags.change_urls")),
    path("demo/", include("controlplane.demo.urls")),
]

handler403 = "apps.ui.views.forbidden"
handler404 = "apps.ui.views.not_found"
handler500 = "apps.ui.views.server_error"
