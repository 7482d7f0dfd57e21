"""Pending sums whose narrow totals are added already, minute by minute: the wide totals of a running minute are added less often."""

from importlib import import_module

from django.db import migrations

REBUILD = import_module("apps.usage.migrations.0012_summaries_wider").REBUILD
COLUMN = """
ALTER TABLE usage_rollup_pending ADD COLUMN minute timestamptz;
COMMENT ON COLUMN usage_rollup_pending.minute IS
    'NULL: added to nothing yet. Else the minute whose totals by the minute, the hour and wider are still to be added';
"""
WAIT = """
    LOCK TABLE usage_rollup_pending IN SHARE MODE;
    IF EXISTS (SELECT FROM usage_rollup_pending WHERE minute IS NOT NULL) THEN
        RAISE EXCEPTION 'sums of the running minute are on their way into the totals' USING HINT = 'Stop the shippers and try again.';
    END IF;
    LOCK TABLE usage_rollup_10s"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0014_retention")]

    operations = [
        migrations.RunSQL(
            COLUMN + REBUILD.replace("\n    LOCK TABLE usage_rollup_10s", WAIT),
            REBUILD + "ALTER TABLE usage_rollup_pending DROP COLUMN minute;",
        )
    ]
