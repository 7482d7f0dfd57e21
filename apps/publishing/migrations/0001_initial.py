"""The proxies' role and schema, then the tables of publishing.

The first operation makes schema ``proxy_api`` and role ``bulkhead_proxy``: migrations that add functions to the schema
depend on this migration. The role may log in but has no password here (the launcher or the operator sets one), owns
nothing, and gets EXECUTE on single functions only.
"""

import uuid

from django.db import migrations, models

import apps.contracts.identifiers

# Roles belong to the whole server, so that several databases (and tests side by side) find it made already.
SCHEMA_AND_ROLE = """
CREATE SCHEMA IF NOT EXISTS proxy_api;
REVOKE ALL ON SCHEMA proxy_api FROM PUBLIC;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'bulkhead_proxy') THEN
        BEGIN
            CREATE ROLE bulkhead_proxy LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role bulkhead_proxy is missing and this user may not create it'
                    USING HINT = 'As a superuser run: CREATE ROLE bulkhead_proxy LOGIN NOINHERIT PASSWORD ''...''; then migrate again.';
        END;
    END IF;
END $$;
GRANT USAGE ON SCHEMA proxy_api TO bulkhead_proxy;
"""

# Heartbeats update one row in place: half of each page stays free, so that an update stays on its page (HOT) and no index is touched.
HEARTBEAT_STORAGE = (
    "ALTER TABLE publishing_proxy SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)"
)


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.RunSQL(SCHEMA_AND_ROLE, "DROP SCHEMA proxy_api"),
        migrations.CreateModel(
            name="ProxyProcess",
            fields=[
                ("boot_id", models.UUIDField(default=apps.contracts.identifiers.uuid7, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=200)),
                ("host", models.CharField(max_length=300)),
                ("pid", models.IntegerField()),
                ("public_url", models.CharField(max_length=500)),
                ("admin_url", models.CharField(max_length=500)),
                ("state", models.CharField(default="starting", max_length=20)),
                ("detail", models.JSONField(default=dict)),
                ("version", models.BigIntegerField(default=0)),
                ("acked_at", models.DateTimeField(null=True)),
                ("registered_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("gone_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "publishing_proxy",
                "ordering": ["name", "registered_at"],
            },
        ),
        migrations.CreateModel(
            name="TouchedFragment",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("section", models.CharField(max_length=40)),
                ("object_id", models.CharField(max_length=400)),
                ("at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "db_table": "publishing_touched",
            },
        ),
        migrations.CreateModel(
            name="Version",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("lineage", models.UUIDField(default=uuid.uuid4, editable=False)),
                ("actor_kind", models.CharField(max_length=20)),
                ("actor_id", models.CharField(max_length=500)),
                ("actor_name", models.CharField(max_length=500)),
                ("reason", models.CharField(blank=True, default="", max_length=2000)),
                ("restores", models.BigIntegerField(blank=True, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("counts", models.JSONField(default=dict)),
                ("diff", models.JSONField(default=dict)),
                ("manifest", models.JSONField(default=dict)),
            ],
            options={
                "db_table": "publishing_version",
                "ordering": ["-number"],
            },
        ),
        migrations.CreateModel(
            name="FragmentRow",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("section", models.CharField(max_length=40)),
                ("object_id", models.CharField(max_length=400)),
                ("version", models.BigIntegerField()),
                ("body", models.BinaryField(null=True)),
            ],
            options={
                "db_table": "publishing_fragment",
                "indexes": [models.Index(fields=["version"], name="publishing_fragment_version")],
                "constraints": [models.UniqueConstraint(fields=("section", "object_id", "version"), name="publishing_fragment_once")],
            },
        ),
        migrations.RunSQL(HEARTBEAT_STORAGE, migrations.RunSQL.noop),
    ]
