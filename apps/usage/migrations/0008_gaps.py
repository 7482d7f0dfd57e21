"""Gaps between tokens have a histogram of their own; of what was settled before nothing is known by it."""

from django.db import migrations

TABLES = ("usage_rollup_10s", "usage_rollup_1h")


class Migration(migrations.Migration):
    dependencies = [("usage", "0007_spend_combined")]

    operations = [
        migrations.RunSQL(f"ALTER TABLE {table} ADD COLUMN h_gap jsonb NOT NULL DEFAULT '{{}}'", f"ALTER TABLE {table} DROP COLUMN h_gap")
        for table in TABLES
    ]
