"""The API's addresses. What belongs to one organisation lies below it; config versions and the audit are the installation's."""

from django.urls import include, path

from apps.accounts.api import audit, people
from apps.alerts.api import note_views as notes
from apps.alerts.api import policy_views as policies
from apps.alerts.api import views as alerts
from apps.budgets.api import views as budgets
from apps.catalogue.api import views as catalogue
from apps.dashboard.api import capture_views as captures
from apps.dashboard.api import saved_views as saved
from apps.dashboard.api import views as dashboard
from apps.flags.api import change_views as changes
from apps.flags.api import rule_views as rules
from apps.flags.api import views as flags
from apps.fleet.api import views as fleet
from apps.keys.api import request_views as asking
from apps.keys.api import template_views as templates
from apps.keys.api import views as keys
from apps.ownership.api import care_views as care
from apps.ownership.api import map_views as regions
from apps.ownership.api import oncall_views as oncall
from apps.ownership.api import rotation_views as rotations
from apps.ownership.api import views as ownership
from apps.postmortems.api import incident_views as incidents
from apps.postmortems.api import postmortem_views as learning
from apps.prices.api import views as prices
from apps.providers.api import views as providers
from apps.publishing.api import views as publishing
from apps.routes.api import views as routes
from apps.usage.api import views as usage
from controlplane.api_errors import NothingHereView
from controlplane.api_schema import SchemaView

app_name = "api"

of_organisation = [
    path("", people.OrganisationView.as_view(), name="organisation"),
    path("people/", people.PeopleView.as_view(), name="people"),
    path("teams/", ownership.TeamsView.as_view(), name="teams"),
    path("teams/<str:team_id>/", ownership.TeamView.as_view(), name="team"),
    path("teams/<str:team_id>/keys/", asking.TeamKeysView.as_view(), name="team-keys"),
    path("services/", ownership.ServicesView.as_view(), name="services"),
    path("services/<str:service_id>/", ownership.ServiceView.as_view(), name="service"),
    path("on-call/", oncall.OnCallView.as_view(), name="on-call"),
    path("owners/<str:region>/<str:layer>/", regions.CellView.as_view(), name="owner"),
    path("regions/", regions.RegionsView.as_view(), name="regions"),
    path("regions/<str:region_id>/", regions.RegionView.as_view(), name="region"),
    path("layers/", regions.LayersView.as_view(), name="layers"),
    path("layers/<str:layer_id>/", regions.LayerView.as_view(), name="layer"),
    path("rotations/", rotations.RotationsView.as_view(), name="rotations"),
    path("rotations/<str:rotation_id>/", rotations.RotationView.as_view(), name="rotation"),
    path("rotations/<str:rotation_id>/overrides/", rotations.StandInsView.as_view(), name="rotation-overrides"),
    path("rotations/<str:rotation_id>/overrides/<uuid:override_id>/", rotations.StandInView.as_view(), name="rotation-override"),
    path("runbooks/", care.RunbooksView.as_view(), name="runbooks"),
    path("runbooks/<str:runbook_id>/", care.RunbookView.as_view(), name="runbook"),
    path("runbooks/<str:runbook_id>/review/", care.RunbookReviewView.as_view(), name="runbook-review"),
    path("slas/", care.SlasView.as_view(), name="slas"),
    path("slas/<str:sla_id>/", care.SlaView.as_view(), name="sla"),
    path("providers/", providers.ProvidersView.as_view(), name="providers"),
    path("providers/<str:provider_id>/", providers.ProviderView.as_view(), name="provider"),
    path("credentials/", providers.CredentialsView.as_view(), name="credentials"),
    path("credentials/<str:credential_id>/", providers.CredentialView.as_view(), name="credential"),
    path("prices/", providers.PricesView.as_view(), name="prices"),
    path("prices/<uuid:model_id>/", providers.PriceView.as_view(), name="price"),
    path("models/", catalogue.ModelsView.as_view(), name="models"),
    path("models/<uuid:model_id>/", catalogue.ModelView.as_view(), name="model"),
    path("discounts/", providers.DiscountsView.as_view(), name="discounts"),
    path("discounts/<str:discount_id>/", providers.DiscountView.as_view(), name="discount"),
    path("unit-prices/", prices.UnitPricesView.as_view(), name="unit-prices"),
    path("unit-prices/<str:unit_price_id>/", prices.UnitPriceView.as_view(), name="unit-price"),
    path("gpu-prices/", prices.GpuPricesView.as_view(), name="gpu-prices"),
    path("gpu-prices/<str:price_id>/", prices.GpuPriceView.as_view(), name="gpu-price"),
    path("routes/", routes.RoutesView.as_view(), name="routes"),
    path("routes/<str:route_id>/", routes.RouteView.as_view(), name="route"),
    path("routes/<str:route_id>/switch/", routes.RouteSwitchView.as_view(), name="route-switch"),
    path("routes/<str:route_id>/breaker/", routes.RouteBreakerView.as_view(), name="route-breaker"),
    path("deployments/", fleet.DeploymentsView.as_view(), name="deployments"),
    path("deployments/<str:deployment_id>/", fleet.DeploymentView.as_view(), name="deployment"),
    path("deployments/<str:deployment_id>/scale/", fleet.DeploymentScaleView.as_view(), name="deployment-scale"),
    path("workers/", fleet.WorkersView.as_view(), name="workers"),
    path("workers/<str:worker_id>/", fleet.WorkerView.as_view(), name="worker"),
    path("workers/<str:worker_id>/mode/", fleet.WorkerModeView.as_view(), name="worker-mode"),
    path("keys/", keys.KeysView.as_view(), name="keys"),
    path("keys/<str:key_id>/", keys.KeyView.as_view(), name="key"),
    path("keys/<str:key_id>/rotate/", keys.KeyRotateView.as_view(), name="key-rotate"),
    path("key-requests/", asking.KeyRequestsView.as_view(), name="key-requests"),
    path("key-requests/<uuid:request_id>/", asking.KeyRequestView.as_view(), name="key-request"),
    path("key-requests/<uuid:request_id>/approve/", asking.KeyRequestApproveView.as_view(), name="key-request-approve"),
    path("key-requests/<uuid:request_id>/reject/", asking.KeyRequestRejectView.as_view(), name="key-request-reject"),
    path("key-requests/<uuid:request_id>/withdraw/", asking.KeyRequestWithdrawView.as_view(), name="key-request-withdraw"),
    path("key-requests/<uuid:request_id>/secret/", asking.KeyRequestSecretView.as_view(), name="key-request-secret"),
    path("key-templates/", templates.KeyTemplatesView.as_view(), name="key-templates"),
    path("key-templates/<str:template_id>/", templates.KeyTemplateView.as_view(), name="key-template"),
    path("budgets/", budgets.BudgetsView.as_view(), name="budgets"),
    path("budgets/<str:budget_id>/", budgets.BudgetView.as_view(), name="budget"),
    path("budgets/<str:budget_id>/overrides/", budgets.BudgetOverridesView.as_view(), name="budget-overrides"),
    path("budgets/<str:budget_id>/overrides/<uuid:override_id>/", budgets.BudgetOverrideView.as_view(), name="budget-override"),
    path("limits/", budgets.LimitsView.as_view(), name="limits"),
    path("limits/<str:limit_id>/", budgets.LimitView.as_view(), name="limit"),
    path("performance-budgets/", budgets.PerformanceBudgetsView.as_view(), name="performance-budgets"),
    path("performance-budgets/<str:performance_id>/", budgets.PerformanceBudgetView.as_view(), name="performance-budget"),
    path("flags/", flags.FlagsView.as_view(), name="flags"),
    path("flags/<str:flag_id>/", flags.FlagView.as_view(), name="flag"),
    path("flags/<str:flag_id>/preview/", flags.FlagPreviewView.as_view(), name="flag-preview"),
    path("flags/<str:flag_id>/flip/", flags.FlagFlipView.as_view(), name="flag-flip"),
    path("changes/", changes.ChangesView.as_view(), name="changes"),
    path("changes/<uuid:change_id>/", changes.ChangeView.as_view(), name="change"),
    path("changes/<uuid:change_id>/approve/", changes.ChangeApproveView.as_view(), name="change-approve"),
    path("changes/<uuid:change_id>/reject/", changes.ChangeRejectView.as_view(), name="change-reject"),
    path("changes/<uuid:change_id>/withdraw/", changes.ChangeWithdrawView.as_view(), name="change-withdraw"),
    path("changes/<uuid:change_id>/review/", changes.ChangeReviewView.as_view(), name="change-review"),
    path("two-person-rules/", rules.TwoPersonRulesView.as_view(), name="two-person-rules"),
    path("two-person-rules/<uuid:rule_id>/", rules.TwoPersonRuleView.as_view(), name="two-person-rule"),
    path("alerts/", alerts.AlertsView.as_view(), name="alerts"),
    path("alerts/<uuid:alert_id>/", alerts.AlertView.as_view(), name="alert"),
    path("alerts/<uuid:alert_id>/acknowledge/", alerts.AlertAcknowledgeView.as_view(), name="alert-acknowledge"),
    path("alerts/<uuid:alert_id>/silence/", alerts.AlertSilenceView.as_view(), name="alert-silence"),
    path("alerts/<uuid:alert_id>/resolve/", alerts.AlertResolveView.as_view(), name="alert-resolve"),
    path("alerts/<uuid:alert_id>/events/", notes.AlertEventsView.as_view(), name="alert-events"),
    path("incidents/", incidents.IncidentsView.as_view(), name="incidents"),
    path("incidents/<str:incident_id>/", incidents.IncidentView.as_view(), name="incident"),
    path("incidents/<str:incident_id>/acknowledge/", incidents.IncidentAcknowledgeView.as_view(), name="incident-acknowledge"),
    path("incidents/<str:incident_id>/merge/", incidents.IncidentMergeView.as_view(), name="incident-merge"),
    path("incidents/<str:incident_id>/move/", incidents.IncidentMoveView.as_view(), name="incident-move"),
    path("incidents/<str:incident_id>/notes/", incidents.IncidentNoteView.as_view(), name="incident-notes"),
    path("incidents/<str:incident_id>/roles/", incidents.IncidentRoleView.as_view(), name="incident-roles"),
    path("incidents/<str:incident_id>/timeline/", incidents.IncidentTimelineView.as_view(), name="incident-timeline"),
    path("incidents/<str:incident_id>/times/", incidents.IncidentTimesView.as_view(), name="incident-times"),
    path("incidents/<str:incident_id>/updates/", incidents.IncidentSayView.as_view(), name="incident-updates"),
    path("alert-rules/", alerts.RulesView.as_view(), name="alert-rules"),
    path("alert-rules/<str:alert_rule_id>/", alerts.RuleView.as_view(), name="alert-rule"),
    path("slos/", alerts.SlosView.as_view(), name="slos"),
    path("slos/<str:slo_id>/", alerts.SloView.as_view(), name="slo"),
    path("silences/", alerts.SilencesView.as_view(), name="silences"),
    path("silences/<uuid:silence_id>/", alerts.SilenceView.as_view(), name="silence"),
    path("alert-channels/", alerts.ChannelsView.as_view(), name="alert-channels"),
    path("alert-channels/<str:channel_id>/", alerts.ChannelView.as_view(), name="alert-channel"),
    path("alert-channels/<str:channel_id>/test/", policies.ChannelTestView.as_view(), name="alert-channel-test"),
    path("alert-deliveries/", policies.DeliveriesView.as_view(), name="alert-deliveries"),
    path("alert-deliveries/<uuid:delivery_id>/", policies.DeliveryView.as_view(), name="alert-delivery"),
    path("notification-policies/", policies.PoliciesView.as_view(), name="notification-policies"),
    path("notification-policies/<str:policy_id>/", policies.PolicyView.as_view(), name="notification-policy"),
    path("provider-notes/", notes.ProviderNotesView.as_view(), name="provider-notes"),
    path("provider-notes/<uuid:note_id>/", notes.ProviderNoteView.as_view(), name="provider-note"),
    path("captures/", captures.CapturesView.as_view(), name="captures"),
    path("captures/<str:capture_id>/", captures.CaptureView.as_view(), name="capture"),
    path("capture-settings/", captures.CaptureSettingsView.as_view(), name="capture-settings"),
    path("samples/", captures.SamplesView.as_view(), name="samples"),
    path("samples/<uuid:request_id>/", captures.SampleView.as_view(), name="sample"),
    path("samples/<uuid:request_id>/open/", captures.SampleOpenView.as_view(), name="sample-open"),
    path("saved-views/", saved.SavedViewsView.as_view(), name="saved-views"),
    path("saved-views/<str:view_id>/", saved.SavedViewView.as_view(), name="saved-view"),
    path("postmortems/", learning.PostmortemsView.as_view(), name="postmortems"),
    path("postmortems/<uuid:postmortem_id>/", learning.PostmortemView.as_view(), name="postmortem"),
    path("action-items/", learning.ActionsView.as_view(), name="action-items"),
    path("action-items/<uuid:action_id>/", learning.ActionItemView.as_view(), name="action-item"),
    path("action-items/<uuid:action_id>/done/", learning.ActionDoneView.as_view(), name="action-item-done"),
    path("action-items/<uuid:action_id>/decline/", learning.ActionDeclineView.as_view(), name="action-item-decline"),
    path("action-items/<uuid:action_id>/reopen/", learning.ActionReopenView.as_view(), name="action-item-reopen"),
    path("overrides/", dashboard.OverridesView.as_view(), name="overrides"),
    path("requests/", usage.RequestsView.as_view(), name="requests"),
    path("requests/<uuid:request_id>/", dashboard.RequestView.as_view(), name="request"),
    path("usage/", usage.UsageView.as_view(), name="usage"),
    path("spend/", usage.SpendView.as_view(), name="spend"),
]

urlpatterns = [
    path("me/", people.MeView.as_view(), name="me"),
    path("me/tokens/", people.TokensView.as_view(), name="tokens"),
    path("me/tokens/<str:token_id>/", people.TokenView.as_view(), name="token"),
    path("organisations/", people.OrganisationsView.as_view(), name="organisations"),
    path("organisations/<str:organisation>/", include(of_organisation)),
    path("config/", publishing.FleetView.as_view(), name="config"),
    path("config/publish/", publishing.PublishView.as_view(), name="publish"),
    path("config/versions/", publishing.VersionsView.as_view(), name="versions"),
    path("config/versions/<int:number>/", publishing.VersionView.as_view(), name="version"),
    path("config/versions/<int:number>/diff/", publishing.VersionDiffView.as_view(), name="version-diff"),
    path("config/versions/<int:number>/rollback/", publishing.RollbackView.as_view(), name="rollback"),
    path("audit/", audit.AuditView.as_view(), name="audit"),
    path("audit/export/", audit.AuditExportView.as_view(), name="audit-export"),
    path("audit/<int:seq>/", audit.AuditEventView.as_view(), name="audit-event"),
    path("schema/", SchemaView.as_view(), name="schema"),
    path("<path:rest>", NothingHereView.as_view(), name="nothing"),
]
