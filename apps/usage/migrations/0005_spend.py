"""What was spent, by the hour and the day and one dimension at a time; forecasts as they were made; anomalies."""

import django.db.models.deletion
from django.db import migrations, models

import apps.contracts.identifiers

TABLE = """
CREATE TABLE usage_spend (
    organisation text COLLATE "C" NOT NULL,
    simulated boolean NOT NULL,
    seconds integer NOT NULL,
    dimension text COLLATE "C" NOT NULL,
    bucket timestamptz NOT NULL,
    value text COLLATE "C" NOT NULL,
    requests bigint NOT NULL,
    attempts bigint NOT NULL,
    tokens_input bigint NOT NULL,
    tokens_output bigint NOT NULL,
    cost_nano bigint NOT NULL,
    waste_nano bigint NOT NULL,
    PRIMARY KEY (organisation, simulated, seconds, dimension, bucket, value)
);
COMMENT ON TABLE usage_spend IS 'Requests, tokens and cost by one dimension at a time, counted from the requests hour by hour (apps/usage/counting.py)';
-- Which hours were counted: an hour whose requests are more now is counted again.
CREATE TABLE usage_spend_counted (
    organisation text COLLATE "C" NOT NULL,
    simulated boolean NOT NULL,
    bucket timestamptz NOT NULL,
    requests bigint NOT NULL,
    counted_at timestamptz NOT NULL,
    took_ms integer NOT NULL,
    PRIMARY KEY (organisation, simulated, bucket)
);
"""
DROP = "DROP TABLE usage_spend_counted, usage_spend;"


class Migration(migrations.Migration):
    dependencies = [("usage", "0004_histograms_uncompressed"), ("accounts", "0001_initial")]

    operations = [
        migrations.RunSQL(TABLE, DROP),
        migrations.CreateModel(
            name="SpendForecast",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("simulated", models.BooleanField()),
                ("made_on", models.DateField()),
                ("made_at", models.DateTimeField(auto_now_add=True)),
                ("days", models.PositiveIntegerField()),
                ("spent_nano", models.BigIntegerField()),
                ("day_nano", models.BigIntegerField()),
                ("day_low_nano", models.BigIntegerField()),
                ("day_high_nano", models.BigIntegerField()),
                ("month_nano", models.BigIntegerField()),
                ("month_low_nano", models.BigIntegerField()),
                ("month_high_nano", models.BigIntegerField()),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="spend_forecasts", to="accounts.organisation"
                    ),
                ),
            ],
            options={
                "ordering": ["-made_on"],
                "constraints": [
                    models.UniqueConstraint(fields=("organisation", "simulated", "made_on"), name="spend_forecast_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("day_low_nano__lte", models.F("day_nano")),
                            ("day_nano__lte", models.F("day_high_nano")),
                            ("month_low_nano__lte", models.F("month_nano")),
                            ("month_nano__lte", models.F("month_high_nano")),
                        ),
                        name="spend_forecast_ordered",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SpendAnomaly",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("simulated", models.BooleanField()),
                ("kind", models.CharField(choices=[("runaway_key", "Runaway key"), ("price_change", "Price changed")], max_length=20)),
                ("subject", models.CharField(max_length=300)),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("evidence", models.JSONField()),
                ("found_at", models.DateTimeField(auto_now_add=True)),
                ("acknowledged_at", models.DateTimeField(blank=True, null=True)),
                ("acknowledged_by", models.CharField(blank=True, default="", max_length=300)),
                ("reason", models.CharField(blank=True, default="", max_length=2000)),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="spend_anomalies", to="accounts.organisation"
                    ),
                ),
            ],
            options={
                "ordering": ["-starts_at", "-id"],
                "constraints": [
                    models.UniqueConstraint(fields=("organisation", "simulated", "kind", "subject", "starts_at"), name="spend_anomaly_once")
                ],
            },
        ),
    ]
