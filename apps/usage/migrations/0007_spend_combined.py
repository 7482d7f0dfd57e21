"""Hours that were counted are counted again: spend is kept by who and what together too."""

from django.db import migrations

AGAIN = "UPDATE usage_spend_counted SET requests = -1, counted_at = 'epoch'"


class Migration(migrations.Migration):
    dependencies = [("usage", "0006_reconciliation")]

    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
