"""Budgets, windows, holders and leases. Windows and leases are written by the functions of the next migration only."""

import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

import apps.contracts.identifiers


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_initial"),
        ("keys", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="LeaseHolder",
            fields=[
                ("boot_id", models.UUIDField(primary_key=True, serialize=False)),
                ("released_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Budget",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=80)),
                ("scope", models.CharField(choices=[("organisation", "Organisation"), ("key", "Key")], max_length=20)),
                ("window", models.CharField(choices=[("day", "day"), ("month", "month")], max_length=10)),
                ("timezone", models.CharField(default="UTC", max_length=64)),
                ("limit_nano", models.BigIntegerField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                ("deleted_at", models.DateTimeField(blank=True, null=True)),
                (
                    "key",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="budgets", to="keys.virtualkey"
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="budgets", to="accounts.organisation"),
                ),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="BudgetWindow",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("limit_nano", models.BigIntegerField()),
                ("ceiling_nano", models.BigIntegerField()),
                ("spent_nano", models.BigIntegerField(db_default=0, default=0)),
                ("leased_nano", models.BigIntegerField(db_default=0, default=0)),
                ("overrun_nano", models.BigIntegerField(db_default=0, default=0)),
                ("budget", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="windows", to="budgets.budget")),
            ],
            options={
                "ordering": ["-starts_at"],
            },
        ),
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("boot_id", models.UUIDField()),
                ("generation", models.IntegerField(db_default=0, default=0)),
                ("granted_nano", models.BigIntegerField(db_default=0, default=0)),
                ("returned_nano", models.BigIntegerField(db_default=0, default=0)),
                ("settled_nano", models.BigIntegerField(db_default=0, default=0)),
                ("written_off_nano", models.BigIntegerField(db_default=0, default=0)),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "Open"), ("released", "Released"), ("written_off", "Written off")],
                        db_default="open",
                        default="open",
                        max_length=12,
                    ),
                ),
                (
                    "window",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="leases", to="budgets.budgetwindow"),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.UniqueConstraint(
                condition=models.Q(("deleted_at", None)), fields=("organisation", "name"), name="budget_name_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(condition=models.Q(("limit_nano__gte", 0)), name="budget_limit_not_negative"),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("key", None), ("scope", "organisation")), models.Q(("key__isnull", False), ("scope", "key")), _connector="OR"
                ),
                name="budget_scope_object",
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(condition=models.Q(("window__in", ["day", "month"])), name="budget_window_known"),
        ),
        migrations.AddConstraint(
            model_name="budgetwindow",
            constraint=models.UniqueConstraint(fields=("budget", "starts_at", "ends_at"), name="budget_window_once"),
        ),
        migrations.AddConstraint(
            model_name="budgetwindow",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "spent_nano__lte",
                        django.db.models.expressions.CombinedExpression(models.F("ceiling_nano"), "-", models.F("leased_nano")),
                    )
                ),
                name="budget_window_wall",
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetwindow",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("ceiling_nano__gte", 0),
                    ("leased_nano__gte", 0),
                    ("limit_nano__gte", 0),
                    ("overrun_nano__gte", 0),
                    ("spent_nano__gte", 0),
                ),
                name="budget_window_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetwindow",
            constraint=models.CheckConstraint(condition=models.Q(("starts_at__lt", models.F("ends_at"))), name="budget_window_has_length"),
        ),
        migrations.AddIndex(
            model_name="lease",
            index=models.Index(condition=models.Q(("state", "open")), fields=["boot_id"], name="lease_open_by_boot"),
        ),
        migrations.AddConstraint(
            model_name="lease",
            constraint=models.UniqueConstraint(condition=models.Q(("state", "open")), fields=("window", "boot_id"), name="lease_open_once"),
        ),
        migrations.AddConstraint(
            model_name="lease",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "granted_nano__gte",
                        django.db.models.expressions.CombinedExpression(models.F("returned_nano"), "+", models.F("settled_nano")),
                    )
                ),
                name="lease_outstanding_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="lease",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("generation__gte", 0),
                    ("granted_nano__gte", 0),
                    ("returned_nano__gte", 0),
                    ("settled_nano__gte", 0),
                    ("written_off_nano__gte", 0),
                ),
                name="lease_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="lease",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state", "open"),
                    (
                        "granted_nano",
                        django.db.models.expressions.CombinedExpression(models.F("returned_nano"), "+", models.F("settled_nano")),
                    ),
                    _connector="OR",
                ),
                name="lease_closed_holds_nothing",
            ),
        ),
    ]
