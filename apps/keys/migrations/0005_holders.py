"""Whoever was shown a key's present secret. Of keys there are, nobody is known: their managers look after them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("keys", "0004_bounds_and_requests")]

    operations = [
        migrations.AddField(
            model_name="virtualkey", name="holder_id", field=models.CharField(blank=True, db_default="", default="", max_length=64)
        ),
    ]
