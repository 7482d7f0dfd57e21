"""Histograms are not compressed: a merge would decompress them once per key. Rows written before stay as they are until the next merge."""

from django.db import migrations

TABLES = ("usage_rollup_10s", "usage_rollup_1m", "usage_rollup_1h", "usage_summary")


class Migration(migrations.Migration):
    dependencies = [("usage", "0003_attempt_roles")]
    operations = [
        migrations.RunSQL(f"ALTER TABLE {table} SET (toast_tuple_target = 8160)", f"ALTER TABLE {table} RESET (toast_tuple_target)")
        for table in TABLES
    ]
