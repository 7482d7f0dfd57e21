"""Views that a team keeps itself."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("dashboard", "0001_saved_views"),
        ("ownership", "0003_sla_latency"),
    ]

    operations: ClassVar = [
        migrations.AlterField(
            "savedview",
            "owner",
            models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="saved_views",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddConstraint(
            "savedview",
            models.UniqueConstraint(condition=models.Q(("owner", None)), fields=("team", "name"), name="saved_view_of_team_once"),
        ),
    ]
