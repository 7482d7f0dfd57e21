"""The audit chain, with what Postgres itself enforces about it, and the event log.

Sealing is a deferred constraint trigger: it runs while the transaction commits, takes the chain's advisory lock there,
and numbers the row. Each statement of the VOLATILE function takes a fresh snapshot (READ COMMITTED), so the head it
reads after the lock is the committed one. Under REPEATABLE READ a stale head would break the unique ``seq`` and the
transaction fails: the chain never forks.
"""

from __future__ import annotations

from django.db import migrations, models

import apps.contracts.identifiers

CREATE = """
CREATE TABLE audit_event (
    id uuid PRIMARY KEY,
    seq bigint UNIQUE,
    at timestamptz NOT NULL,
    actor_kind text NOT NULL,
    actor_id text NOT NULL,
    actor_name text NOT NULL,
    actor_role text NOT NULL,
    actor_address text NOT NULL,
    action text NOT NULL,
    subject_kind text NOT NULL,
    subject_id text NOT NULL,
    subject_name text NOT NULL,
    before jsonb,
    after jsonb,
    reason text NOT NULL,
    config_version bigint,
    content_hash varchar(64) NOT NULL,
    prev_hash varchar(64),
    hash varchar(64)
);
CREATE INDEX audit_event_subject ON audit_event (subject_kind, subject_id, seq DESC);
CREATE INDEX audit_event_action ON audit_event (action, seq DESC);
CREATE INDEX audit_event_at ON audit_event (at);

CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

-- A new row has no place yet; nobody hands in a seq of their own.
CREATE FUNCTION audit_enter() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.seq := NULL; NEW.prev_hash := NULL; NEW.hash := NULL;
    RETURN NEW;
END $$;

-- The one update there is: audit_seal gives an unsealed row its place, and touches nothing else.
CREATE FUNCTION audit_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    expected record;
    last_seq bigint;
    last_hash text;
BEGIN
    expected := OLD;
    expected.seq := NEW.seq; expected.prev_hash := NEW.prev_hash; expected.hash := NEW.hash;
    SELECT seq, hash INTO last_seq, last_hash FROM public.audit_event WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1;
    IF OLD.seq IS NULL AND NEW IS NOT DISTINCT FROM expected
       AND NEW.seq = coalesce(last_seq, 0) + 1 AND NEW.prev_hash = coalesce(last_hash, repeat('0', 64))
       AND NEW.hash = public.audit_link_hash(NEW.seq, NEW.content_hash, NEW.prev_hash) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only: UPDATE refused' USING ERRCODE = 'insufficient_privilege';
END $$;

-- Canonical JSON by hand: three keys in order, no text that needs escaping. apps.audit.rules.link_hash is its twin.
CREATE FUNCTION audit_link_hash(seq bigint, content_hash text, prev_hash text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT encode(sha256(convert_to(format('{"content_hash":"%s","prev_hash":"%s","seq":%s}', content_hash, prev_hash, seq), 'UTF8')), 'hex')
$$;

CREATE FUNCTION audit_seal() RETURNS trigger LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $$
DECLARE
    last_seq bigint;
    last_hash text;
BEGIN
    PERFORM pg_advisory_xact_lock(4611686018427387001);
    SELECT seq, hash INTO last_seq, last_hash FROM public.audit_event WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1;
    last_seq := coalesce(last_seq, 0) + 1;
    last_hash := coalesce(last_hash, repeat('0', 64));
    UPDATE public.audit_event
       SET seq = last_seq, prev_hash = last_hash, hash = public.audit_link_hash(last_seq, content_hash, last_hash)
     WHERE id = NEW.id AND seq IS NULL;
    RETURN NULL;
END $$;

CREATE TRIGGER audit_enter BEFORE INSERT ON audit_event FOR EACH ROW EXECUTE FUNCTION audit_enter();
CREATE TRIGGER audit_guard BEFORE UPDATE ON audit_event FOR EACH ROW EXECUTE FUNCTION audit_guard();
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit_event FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit_event FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE CONSTRAINT TRIGGER audit_seal AFTER INSERT ON audit_event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_seal();
"""

DROP = """
DROP TABLE audit_event;
DROP FUNCTION audit_seal(); DROP FUNCTION audit_guard(); DROP FUNCTION audit_enter(); DROP FUNCTION audit_refuse();
DROP FUNCTION audit_link_hash(bigint, text, text);
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.RunSQL(
            CREATE,
            DROP,
            state_operations=[
                migrations.CreateModel(
                    name="AuditEvent",
                    fields=[
                        (
                            "id",
                            models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False),
                        ),
                        ("seq", models.BigIntegerField(editable=False, null=True, unique=True)),
                        ("at", models.DateTimeField()),
                        ("actor_kind", models.TextField()),
                        ("actor_id", models.TextField()),
                        ("actor_name", models.TextField()),
                        ("actor_role", models.TextField(blank=True, default="")),
                        ("actor_address", models.TextField(blank=True, default="")),
                        ("action", models.TextField()),
                        ("subject_kind", models.TextField()),
                        ("subject_id", models.TextField()),
                        ("subject_name", models.TextField(blank=True, default="")),
                        ("before", models.JSONField(null=True)),
                        ("after", models.JSONField(null=True)),
                        ("reason", models.TextField(blank=True, default="")),
                        ("config_version", models.BigIntegerField(null=True)),
                        ("content_hash", models.CharField(max_length=64)),
                        ("prev_hash", models.CharField(max_length=64, null=True)),
                        ("hash", models.CharField(max_length=64, null=True)),
                    ],
                    options={"db_table": "audit_event", "ordering": ["-seq"], "managed": False},
                ),
            ],
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=80)),
                ("at", models.DateTimeField()),
                ("recorded_at", models.DateTimeField(auto_now_add=True)),
                ("subject_kind", models.CharField(max_length=80)),
                ("subject_id", models.CharField(max_length=200)),
                ("subject_name", models.CharField(blank=True, default="", max_length=300)),
                ("data", models.JSONField(default=dict)),
            ],
            options={
                "db_table": "audit_fact",
                "ordering": ["at", "id"],
                "indexes": [
                    models.Index(fields=["at"], name="audit_fact_at"),
                    models.Index(fields=["subject_kind", "subject_id", "at"], name="audit_fact_subject"),
                ],
            },
        ),
    ]
