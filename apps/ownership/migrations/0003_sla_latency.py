"""SLAs on the time to the whole answer."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("ownership", "0002_map_rotations_and_care")]

    operations: ClassVar = [
        migrations.AddField("sla", name, models.PositiveIntegerField(blank=True, null=True))
        for name in ("latency_ms", "latency_warn_ms", "latency_page_ms")
    ]
