"""The switch for private addresses, off for every provider until somebody says so, and what tells one secret from another."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("providers", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="provider",
            name="allow_private_addresses",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="credential",
            name="last_four",
            field=models.CharField(blank=True, default="", max_length=4),
        ),
    ]
