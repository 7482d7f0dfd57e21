"""With which program and which personal token somebody came. Rows from before say nothing of it, and hash as they did."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_reading")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE audit_event ADD COLUMN IF NOT EXISTS actor_agent text NOT NULL DEFAULT '', "
            "ADD COLUMN IF NOT EXISTS actor_via text NOT NULL DEFAULT '';"
            "CREATE INDEX IF NOT EXISTS audit_event_address ON audit_event (actor_address, seq DESC)",
            "DROP INDEX IF EXISTS audit_event_address; ALTER TABLE audit_event DROP COLUMN actor_agent, DROP COLUMN actor_via",
            state_operations=[
                migrations.AddField("auditevent", "actor_agent", models.TextField(blank=True, default="")),
                migrations.AddField("auditevent", "actor_via", models.TextField(blank=True, default="")),
            ],
        ),
    ]
