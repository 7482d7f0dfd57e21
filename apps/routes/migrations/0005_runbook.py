"""What to do when a route fails."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("routes", "0004_default_price")]

    operations = [
        migrations.AddField(
            model_name="route", name="runbook", field=models.CharField(blank=True, db_default="", default="", max_length=300)
        ),
    ]
