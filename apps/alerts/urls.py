"""Addresses of alerts."""

from django.urls import path

from apps.alerts import channel_views, note_views, rule_views, silence_views, views

app_name = "alerts"
urlpatterns = [
    path("alerts/", views.ListView.as_view(), name="list"),
    path("alerts/rules/", rule_views.RulesView.as_view(), name="rules"),
    path("alerts/rules/new/", rule_views.RuleCreateView.as_view(), name="rule_create"),
    path("alerts/rules/<uuid:alert_rule_id>/", rule_views.RuleView.as_view(), name="rule"),
    path("alerts/rules/<uuid:alert_rule_id>/edit/", rule_views.RuleUpdateView.as_view(), name="rule_edit"),
    path("alerts/rules/<uuid:alert_rule_id>/switch/", rule_views.RuleSwitchView.as_view(), name="rule_switch"),
    path("alerts/rules/<uuid:alert_rule_id>/delete/", rule_views.RuleDeleteView.as_view(), name="rule_delete"),
    path("alerts/slos/", rule_views.SlosView.as_view(), name="slos"),
    path("alerts/slos/new/", rule_views.SloCreateView.as_view(), name="slo_create"),
    path("alerts/slos/<uuid:slo_id>/", rule_views.SloView.as_view(), name="slo"),
    path("alerts/slos/<uuid:slo_id>/edit/", rule_views.SloUpdateView.as_view(), name="slo_edit"),
    path("alerts/slos/<uuid:slo_id>/delete/", rule_views.SloDeleteView.as_view(), name="slo_delete"),
    path("alerts/silences/", silence_views.SilencesView.as_view(), name="silences"),
    path("alerts/silences/<uuid:silence_id>/end/", silence_views.SilenceEndView.as_view(), name="silence_end"),
    path("alerts/notes/", note_views.NotesView.as_view(), name="notes"),
    path("alerts/notes/<uuid:note_id>/end/", note_views.NoteEndView.as_view(), name="note_end"),
    path("alerts/routing/", channel_views.RoutingView.as_view(), name="routing"),
    path("alerts/routing/new/", channel_views.PolicyCreateView.as_view(), name="policy_create"),
    path("alerts/routing/<uuid:policy_id>/edit/", channel_views.PolicyUpdateView.as_view(), name="policy_edit"),
    path("alerts/routing/<uuid:policy_id>/delete/", channel_views.PolicyDeleteView.as_view(), name="policy_delete"),
    path("alerts/channels/", channel_views.ChannelsView.as_view(), name="channels"),
    path("alerts/channels/new/", channel_views.ChannelCreateView.as_view(), name="channel_create"),
    path("alerts/channels/<uuid:channel_id>/edit/", channel_views.ChannelUpdateView.as_view(), name="channel_edit"),
    path("alerts/channels/<uuid:channel_id>/test/", channel_views.ChannelTestView.as_view(), name="channel_test"),
    path("alerts/channels/<uuid:channel_id>/delete/", channel_views.ChannelDeleteView.as_view(), name="channel_delete"),
    path("alerts/deliveries/", channel_views.DeliveriesView.as_view(), name="deliveries"),
    path("alerts/deliveries/<uuid:delivery_id>/again/", channel_views.DeliveryAgainView.as_view(), name="delivery_again"),
    path("alerts/<uuid:alert_id>/", views.DetailView.as_view(), name="detail"),
    path("alerts/<uuid:alert_id>/answer/", views.AnswerView.as_view(), name="answer"),
    path("alerts/<uuid:alert_id>/acknowledge/", views.AcknowledgeView.as_view(), name="acknowledge"),
    path("alerts/<uuid:alert_id>/silence/", views.SilenceAlertView.as_view(), name="silence"),
    path("alerts/<uuid:alert_id>/resolve/", views.ResolveView.as_view(), name="resolve"),
    path("alerts/<uuid:alert_id>/note/", views.NoteView.as_view(), name="note"),
]
