from django.apps import AppConfig


class PostmortemsConfig(AppConfig):
    name = "apps.postmortems"

    def ready(self) -> None:
        from apps.alerts.followers import register_follower as register_alert_follower
        from apps.audit.registry import register_kind
        from apps.postmortems import incident_bar
        from apps.postmortems.incident_alerts import alert_followed
        from apps.postmortems.incident_choices import DECLARED_EVENT, OVER_EVENT
        from apps.postmortems.incident_palette import incidents_for_palette
        from apps.postmortems.postmortem_neighbours import learning_for_palette, register
        from apps.publishing.selectors import register_page_fact
        from apps.ui.bar import register_count
        from apps.ui.palette import register_source

        register_kind(
            DECLARED_EVENT, "Incident declared", tone="bad", description="A person, an alert or a drill says that something is wrong."
        )
        register_kind(OVER_EVENT, "Incident resolved", tone="good", description="What broke is mended.")
        register_alert_follower("incidents", alert_followed)
        register_page_fact(incident_bar.FACT, incident_bar.open_incidents_fact)
        register_count("incidents", incident_bar.incidents_count)
        register_source("Incidents", incidents_for_palette)
        register_source("Postmortems and action items", learning_for_palette)
        register()
