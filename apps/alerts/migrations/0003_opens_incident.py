"""Whether an alert of a rule opens an incident, and as what."""

from django.db import migrations, models

INCIDENTS = [("", "No"), ("sev1", "Yes, as SEV1"), ("sev2", "Yes, as SEV2"), ("sev3", "Yes, as SEV3"), ("sev4", "Yes, as SEV4")]


class Migration(migrations.Migration):
    dependencies = [("alerts", "0002_telling")]

    operations = [
        migrations.AddField(
            "alertrule",
            "opens_incident",
            models.CharField(max_length=4, choices=INCIDENTS, blank=True, default="", db_default=""),
        ),
    ]
