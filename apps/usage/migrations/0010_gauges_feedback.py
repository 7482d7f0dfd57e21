"""What machines measure of themselves, by the minute; and what apps say of the answers they got."""

from django.db import migrations

TABLES = """
CREATE TABLE usage_gauge (
    name text COLLATE "C" NOT NULL,
    organisation text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    bucket timestamptz NOT NULL,
    low double precision NOT NULL,
    high double precision NOT NULL,
    last double precision NOT NULL,
    total double precision NOT NULL,
    samples integer NOT NULL,
    PRIMARY KEY (name, organisation, subject, bucket)
) WITH (fillfactor = 70);
CREATE INDEX usage_gauge_age ON usage_gauge (bucket);
COMMENT ON TABLE usage_gauge IS 'Queues, breakers, lag and leases as sampled, by the minute (apps/usage/gauges.py)';

-- What is said field by field, each with when it was said (microseconds, database time; 0: never): of two the later one counts.
CREATE TABLE usage_feedback (
    request_id uuid NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    organisation text COLLATE "C" NOT NULL,
    team text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'kept', 'foreign')),
    said_us bigint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    score double precision,
    score_us bigint NOT NULL DEFAULT 0,
    reason text,
    reason_us bigint NOT NULL DEFAULT 0,
    outcome text COLLATE "C",
    outcome_us bigint NOT NULL DEFAULT 0,
    tags jsonb,
    tags_us bigint NOT NULL DEFAULT 0,
    client_ms bigint,
    client_ms_us bigint NOT NULL DEFAULT 0,
    -- of the request, once it is found
    started_at timestamptz,
    simulated boolean,
    route text COLLATE "C",
    variant text COLLATE "C",
    total_us bigint,
    PRIMARY KEY (request_id, key_id),
    CHECK (score IS NULL OR score BETWEEN -1 AND 1),
    CHECK (client_ms IS NULL OR client_ms >= 0),
    CHECK (state <> 'kept' OR (started_at IS NOT NULL AND simulated IS NOT NULL AND route IS NOT NULL AND variant IS NOT NULL))
);
CREATE INDEX usage_feedback_kept ON usage_feedback (organisation, simulated, started_at) WHERE state = 'kept';
CREATE INDEX usage_feedback_age ON usage_feedback (started_at) WHERE state = 'kept';
CREATE INDEX usage_feedback_waiting ON usage_feedback (received_at) WHERE state <> 'kept';
COMMENT ON TABLE usage_feedback IS 'What apps say of answers they got, once for each request and key (apps/usage/feedback.py)';
"""
DROP = "DROP TABLE usage_feedback, usage_gauge;"


class Migration(migrations.Migration):
    dependencies = [("usage", "0009_secrets_of_keys")]
    operations = [migrations.RunSQL(TABLES, DROP)]
