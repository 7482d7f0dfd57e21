"""Reading the trail: an index for what one person did, and the results of walking the chain."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        migrations.RunSQL(
            "CREATE INDEX IF NOT EXISTS audit_event_actor ON audit_event (actor_name, seq DESC);"
            "CREATE INDEX IF NOT EXISTS audit_event_actor_id ON audit_event (actor_id, seq DESC)",
            "DROP INDEX IF EXISTS audit_event_actor; DROP INDEX IF EXISTS audit_event_actor_id",
        ),
        migrations.CreateModel(
            name="ChainCheck",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("links", models.BigIntegerField()),
                ("head", models.BigIntegerField()),
                ("head_hash", models.CharField(max_length=64)),
                ("broken", models.TextField(blank=True, default="")),
                ("whole", models.BooleanField()),
            ],
            options={"db_table": "audit_chain_check", "ordering": ["-id"]},
        ),
    ]
