"""Thresholds of a budget's day that a rule of the alerts tells people of."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("budgets", "0010_window_of_user_ended")]

    operations = [
        migrations.AddField(
            model_name="budgetalert",
            name="rule",
            field=models.CharField(blank=True, db_default="", default="", max_length=60),
        ),
    ]
