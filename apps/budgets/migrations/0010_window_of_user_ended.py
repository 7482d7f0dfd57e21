"""Users' windows by their end, for upkeep."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("budgets", "0009_notices_and_sources")]

    operations = [
        migrations.AddIndex(
            model_name="budgetwindow",
            index=models.Index(condition=models.Q(("subject", ""), _negated=True), fields=["ends_at"], name="budget_window_of_user_ended"),
        ),
    ]
