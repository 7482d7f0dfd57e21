"""Requests of a caller's trace: its id (32 hex digits), the caller's span (16) and whether it records the trace; NULL where it sent none."""

from django.db import migrations, models

COLUMNS = """
ALTER TABLE usage_request ADD COLUMN trace_id text COLLATE "C", ADD COLUMN parent_span text COLLATE "C", ADD COLUMN trace_sampled boolean;
CREATE INDEX usage_request_trace ON usage_request (trace_id) WHERE trace_id IS NOT NULL;
"""
WITHOUT = "ALTER TABLE usage_request DROP COLUMN trace_id, DROP COLUMN parent_span, DROP COLUMN trace_sampled;"


class Migration(migrations.Migration):
    dependencies = [("usage", "0010_gauges_feedback")]

    operations = [
        migrations.RunSQL(COLUMNS, WITHOUT),
        migrations.AddField("usagerequest", "trace_id", models.TextField(null=True)),
        migrations.AddField("usagerequest", "parent_span", models.TextField(null=True)),
        migrations.AddField("usagerequest", "trace_sampled", models.BooleanField(null=True)),
    ]
