"""Who settles: where each shipper is scraped, and how far behind it is."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("settlement", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="SettlementShipper",
            fields=[
                ("id", models.TextField(primary_key=True, serialize=False)),
                ("host", models.TextField()),
                ("pid", models.IntegerField()),
                ("metrics_url", models.TextField(default="")),
                ("state", models.TextField()),
                ("lag_ms", models.BigIntegerField(default=0)),
                ("records", models.BigIntegerField(default=0)),
                ("seen_at", models.DateTimeField()),
            ],
            options={"db_table": "settlement_shipper", "ordering": ["host", "id"]},
        ),
    ]
