"""Requests for another owner of a flag, beside those for flips."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("flags", "0004_flips_foretold"),
        ("ownership", "0002_map_rotations_and_care"),
    ]

    operations = [
        migrations.AddField(model_name="changerequest", name="gives", field=models.BooleanField(db_default=False, default=False)),
        migrations.AddField(
            model_name="changerequest",
            name="to",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="ownership.team"
            ),
        ),
        migrations.AddField(
            model_name="changerequest", name="to_name", field=models.CharField(blank=True, db_default="", default="", max_length=200)
        ),
    ]
