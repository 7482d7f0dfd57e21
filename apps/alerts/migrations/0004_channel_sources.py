"""Where a document read a channel's address and secret from."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("alerts", "0003_opens_incident")]

    operations: ClassVar = [
        migrations.AddField("alertchannel", name, models.CharField(blank=True, default="", max_length=300))
        for name in ("address_source", "secret_source")
    ]
