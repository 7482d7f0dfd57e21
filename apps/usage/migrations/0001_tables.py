"""The request table with its day partitions, the rollups, and the functions that keep and read them."""

from django.db import migrations, models

import apps.usage.fields

REQUEST = """
CREATE TABLE usage_request (
    id uuid NOT NULL,
    started_at timestamptz NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    config_version bigint NOT NULL,
    tokens_input bigint NOT NULL,
    tokens_output bigint NOT NULL,
    tokens_cache_read bigint NOT NULL,
    tokens_cache_write bigint NOT NULL,
    tokens_reasoning bigint NOT NULL,
    cost_nano bigint NOT NULL,
    first_token_us bigint NOT NULL,
    total_us bigint NOT NULL,
    upstream_us bigint NOT NULL,
    bytes_in bigint NOT NULL,
    bytes_out bigint NOT NULL,
    status integer NOT NULL,
    attempt_count integer NOT NULL,
    simulated boolean NOT NULL,
    stream boolean NOT NULL,
    estimated boolean NOT NULL,
    organisation text COLLATE "C" NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    requested_model text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    error_code text COLLATE "C" NOT NULL,
    error_step text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    endpoint text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    feature text COLLATE "C" NOT NULL,
    team text COLLATE "C" NOT NULL,
    service text COLLATE "C" NOT NULL,
    "user" text COLLATE "C" NOT NULL,
    input_hash text COLLATE "C" NOT NULL,
    proxy text COLLATE "C" NOT NULL,
    -- The rest of the attempt that answered, or was the last one; what it shares with the request is not said twice.
    region text COLLATE "C" NOT NULL DEFAULT '',
    price_version text COLLATE "C" NOT NULL DEFAULT '',
    upstream_status integer NOT NULL DEFAULT 0,
    upstream_sent_us bigint NOT NULL DEFAULT 0,
    upstream_first_byte_us bigint NOT NULL DEFAULT -1,
    upstream_ended_us bigint NOT NULL DEFAULT 0,
    upstream_request_id text COLLATE "C" NOT NULL DEFAULT '',
    charges bigint[],
    -- NULL where empty, because most are: parsing and storing four empty documents would cost more than the numbers do.
    tags jsonb,
    metadata jsonb,
    flags jsonb,
    attempts jsonb,
    PRIMARY KEY (id, started_at)
) PARTITION BY RANGE (started_at);

CREATE INDEX usage_request_recent ON usage_request (organisation, simulated, started_at);
CREATE INDEX usage_request_key ON usage_request (key_id, started_at);
CREATE INDEX usage_request_route ON usage_request (route, started_at);
CREATE INDEX usage_request_outcome ON usage_request (outcome, started_at) WHERE outcome <> 'ok';
COMMENT ON TABLE usage_request IS 'One row per request, written once by the shipper; partitioned by UTC day of started_at';
"""

MEASURES = """
    requests bigint NOT NULL,
    ok bigint NOT NULL,
    error bigint NOT NULL,
    cancelled bigint NOT NULL,
    refused bigint NOT NULL,
    unknown bigint NOT NULL,
    estimated bigint NOT NULL,
    attempts bigint NOT NULL,
    attempt_errors bigint NOT NULL,
    tokens_input bigint NOT NULL,
    tokens_output bigint NOT NULL,
    tokens_cache_read bigint NOT NULL,
    tokens_cache_write bigint NOT NULL,
    tokens_reasoning bigint NOT NULL,
    cost_nano bigint NOT NULL,
    total_us bigint NOT NULL,
    upstream_us bigint NOT NULL,
    bytes_in bigint NOT NULL,
    bytes_out bigint NOT NULL,
    h_total jsonb NOT NULL,
    h_first_token jsonb NOT NULL,
"""
NARROW = ("organisation", "route", "provider", "endpoint", "model")
WIDE = (*NARROW, "key_id", "team", "service", "feature", "environment")


def rollup(table: str, dimensions: tuple[str, ...]) -> str:
    """fillfactor: an upsert of a live bucket finds room on its page (a HOT update), so no index is touched."""
    columns = "".join(f'    {name} text COLLATE "C" NOT NULL,\n' for name in dimensions)
    return f"""
CREATE TABLE {table} (
    bucket timestamptz NOT NULL,
    dimensions uuid NOT NULL,
    simulated boolean NOT NULL,
{columns}{MEASURES}
    PRIMARY KEY (bucket, dimensions)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
CREATE INDEX {table}_scope ON {table} (organisation, simulated, bucket);
"""


HISTOGRAMS = """
-- Costs by the smaller, second histogram: the shipper merges a batch's few counts into a bucket's many.
CREATE FUNCTION usage_histogram_merge(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF b IS NULL OR b = '{}' THEN
        RETURN coalesce(a, '{}');
    END IF;
    IF a IS NULL OR a = '{}' THEN
        RETURN b;
    END IF;
    RETURN a || (SELECT jsonb_object_agg(key, value::bigint + coalesce((a ->> key)::bigint, 0)) FROM jsonb_each_text(b));
END
$$;
CREATE AGGREGATE usage_histogram_sum(jsonb) (SFUNC = usage_histogram_merge, STYPE = jsonb, INITCOND = '{}', PARALLEL = SAFE, COMBINEFUNC = usage_histogram_merge);
"""

PENDING = """
-- Rollups' deltas of batches that are committed and not yet added to the rollups: apps/usage/rollups.py. Few rows, soon gone.
CREATE TABLE usage_rollup_pending (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    cells bytea NOT NULL
) WITH (autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
ALTER TABLE usage_rollup_pending ALTER COLUMN cells SET STORAGE EXTERNAL;
COMMENT ON TABLE usage_rollup_pending IS 'Deltas on their way into the rollups, at most seconds old while a shipper runs';
"""

ATTEMPTS = """
-- Every attempt of a request, as documents: the stored ones, or the single one that the columns tell.
CREATE FUNCTION usage_attempts(r usage_request) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN r.attempts IS NOT NULL THEN r.attempts
        WHEN r.attempt_count = 0 THEN '[]'
        ELSE jsonb_build_array(jsonb_build_object(
            'provider', r.provider, 'endpoint', r.endpoint, 'model', r.model, 'region', r.region, 'simulated', r.simulated,
            'outcome', r.outcome, 'status', r.upstream_status, 'error_code', r.error_code, 'sent_us', r.upstream_sent_us,
            'first_byte_us', r.upstream_first_byte_us, 'ended_us', r.upstream_ended_us,
            'tokens', jsonb_build_object('input', r.tokens_input, 'output', r.tokens_output, 'cache_read', r.tokens_cache_read,
                                         'cache_write', r.tokens_cache_write, 'reasoning', r.tokens_reasoning),
            'cost_nano', r.cost_nano, 'price_version', r.price_version, 'estimated', r.estimated,
            'charges', (SELECT coalesce(jsonb_agg(jsonb_build_object('lease_id', r.charges[n], 'reserved_nano', r.charges[n + 1])
                                                  ORDER BY n), '[]')
                        FROM generate_series(1, coalesce(cardinality(r.charges), 0), 2) AS n),
            'upstream_request_id', r.upstream_request_id))
        END
$$;
"""

PARTITIONS = """
-- One UTC day's partition; true when this call made it. Attaching takes no lock that readers or COPY would wait for.
CREATE FUNCTION usage_partition_ensure(day date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    name text := 'usage_request_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('usage_partition_ensure'));
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE usage_request INCLUDING DEFAULTS INCLUDING STORAGE)', name);
    EXECUTE format('ALTER TABLE usage_request ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   name, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    RETURN true;
END
$$;
"""

RECORD = """
CREATE SCHEMA IF NOT EXISTS proxy_api;

-- What an app may see of its own request: NULL for an unknown id and for another key's.
-- The id's own timestamp (UUIDv7) selects the partition; a host whose clock was off is found within a day.
CREATE OR REPLACE FUNCTION proxy_api.request_record(request uuid, key text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    made timestamptz := to_timestamp(('x' || left(replace(request::text, '-', ''), 12))::bit(48)::bigint / 1000.0);
    slack interval;
    found jsonb;
BEGIN
    FOREACH slack IN ARRAY ARRAY[interval '10 minutes', interval '1 day'] LOOP
        SELECT to_jsonb(r) || jsonb_build_object('attempts', usage_attempts(r), 'tags', coalesce(r.tags, '[]'),
                                                 'metadata', coalesce(r.metadata, '{}'), 'flags', coalesce(r.flags, '[]'))
        INTO found
        FROM usage_request r
        WHERE r.id = request AND r.key_id = key AND r.started_at BETWEEN made - slack AND made + slack;
        EXIT WHEN found IS NOT NULL;
    END LOOP;
    RETURN found;
END
$$;
REVOKE ALL ON FUNCTION proxy_api.request_record(uuid, text) FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bulkhead_proxy') THEN
        GRANT USAGE ON SCHEMA proxy_api TO bulkhead_proxy;
        GRANT EXECUTE ON FUNCTION proxy_api.request_record(uuid, text) TO bulkhead_proxy;
    END IF;
END
$$;
"""

DROP = """
DROP FUNCTION IF EXISTS proxy_api.request_record(uuid, text);
DROP AGGREGATE usage_histogram_sum(jsonb);
DROP FUNCTION usage_partition_ensure(date);
DROP FUNCTION usage_attempts(usage_request);
DROP TABLE usage_rollup_pending, usage_request, usage_rollup_10s, usage_rollup_1m, usage_rollup_1h;
DROP FUNCTION usage_histogram_merge(jsonb, jsonb);
"""

CREATE = "".join(
    (
        REQUEST,
        rollup("usage_rollup_10s", NARROW),
        rollup("usage_rollup_1m", WIDE),
        rollup("usage_rollup_1h", WIDE),
        HISTOGRAMS,
        PENDING,
        ATTEMPTS,
        PARTITIONS,
        RECORD,
    )
)


class Migration(migrations.Migration):
    initial = True

    dependencies = [("publishing", "0002_proxy_api")]

    operations = [
        migrations.RunSQL(CREATE, DROP),
        migrations.CreateModel(
            name="UsageRequest",
            fields=[
                ("pk", models.CompositePrimaryKey("started_at", "id", blank=True, editable=False, primary_key=True, serialize=False)),
                ("id", models.UUIDField()),
                ("started_at", models.DateTimeField()),
                ("settled_at", models.DateTimeField()),
                ("organisation", models.TextField()),
                ("simulated", models.BooleanField()),
                ("key_id", models.TextField()),
                ("kind", models.TextField()),
                ("route", models.TextField()),
                ("requested_model", models.TextField()),
                ("stream", models.BooleanField()),
                ("outcome", models.TextField()),
                ("status", models.IntegerField()),
                ("error_code", models.TextField()),
                ("error_step", models.TextField()),
                ("environment", models.TextField()),
                ("feature", models.TextField()),
                ("tags", apps.usage.fields.DocumentField(default=list)),
                ("user", models.TextField()),
                ("metadata", apps.usage.fields.DocumentField(default=dict)),
                ("team", models.TextField()),
                ("service", models.TextField()),
                ("config_version", models.BigIntegerField()),
                ("flags", apps.usage.fields.DocumentField(default=list)),
                ("input_hash", models.TextField()),
                ("provider", models.TextField()),
                ("endpoint", models.TextField()),
                ("model", models.TextField()),
                ("attempt_count", models.IntegerField()),
                ("region", models.TextField()),
                ("price_version", models.TextField()),
                ("upstream_status", models.IntegerField()),
                ("upstream_sent_us", models.BigIntegerField()),
                ("upstream_first_byte_us", models.BigIntegerField()),
                ("upstream_ended_us", models.BigIntegerField()),
                ("upstream_request_id", models.TextField()),
                ("charges", apps.usage.fields.ChargesField()),
                ("attempts", models.JSONField(null=True)),
                ("tokens_input", models.BigIntegerField()),
                ("tokens_output", models.BigIntegerField()),
                ("tokens_cache_read", models.BigIntegerField()),
                ("tokens_cache_write", models.BigIntegerField()),
                ("tokens_reasoning", models.BigIntegerField()),
                ("cost_nano", models.BigIntegerField()),
                ("estimated", models.BooleanField()),
                ("first_token_us", models.BigIntegerField()),
                ("total_us", models.BigIntegerField()),
                ("upstream_us", models.BigIntegerField()),
                ("bytes_in", models.BigIntegerField()),
                ("bytes_out", models.BigIntegerField()),
                ("proxy", models.TextField()),
            ],
            options={
                "db_table": "usage_request",
                "ordering": ["-started_at", "-id"],
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="UsageRollup10s",
            fields=[
                ("pk", models.CompositePrimaryKey("bucket", "dimensions", blank=True, editable=False, primary_key=True, serialize=False)),
                ("bucket", models.DateTimeField()),
                ("dimensions", models.UUIDField()),
                ("organisation", models.TextField()),
                ("simulated", models.BooleanField()),
                ("route", models.TextField()),
                ("provider", models.TextField()),
                ("endpoint", models.TextField()),
                ("model", models.TextField()),
                ("requests", models.BigIntegerField()),
                ("ok", models.BigIntegerField()),
                ("error", models.BigIntegerField()),
                ("cancelled", models.BigIntegerField()),
                ("refused", models.BigIntegerField()),
                ("unknown", models.BigIntegerField()),
                ("estimated", models.BigIntegerField()),
                ("attempts", models.BigIntegerField()),
                ("attempt_errors", models.BigIntegerField()),
                ("tokens_input", models.BigIntegerField()),
                ("tokens_output", models.BigIntegerField()),
                ("tokens_cache_read", models.BigIntegerField()),
                ("tokens_cache_write", models.BigIntegerField()),
                ("tokens_reasoning", models.BigIntegerField()),
                ("cost_nano", models.BigIntegerField()),
                ("total_us", models.BigIntegerField()),
                ("upstream_us", models.BigIntegerField()),
                ("bytes_in", models.BigIntegerField()),
                ("bytes_out", models.BigIntegerField()),
                ("h_total", models.JSONField()),
                ("h_first_token", models.JSONField()),
            ],
            options={
                "db_table": "usage_rollup_10s",
                "abstract": False,
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="UsageRollup1h",
            fields=[
                ("pk", models.CompositePrimaryKey("bucket", "dimensions", blank=True, editable=False, primary_key=True, serialize=False)),
                ("bucket", models.DateTimeField()),
                ("dimensions", models.UUIDField()),
                ("organisation", models.TextField()),
                ("simulated", models.BooleanField()),
                ("route", models.TextField()),
                ("provider", models.TextField()),
                ("endpoint", models.TextField()),
                ("model", models.TextField()),
                ("requests", models.BigIntegerField()),
                ("ok", models.BigIntegerField()),
                ("error", models.BigIntegerField()),
                ("cancelled", models.BigIntegerField()),
                ("refused", models.BigIntegerField()),
                ("unknown", models.BigIntegerField()),
                ("estimated", models.BigIntegerField()),
                ("attempts", models.BigIntegerField()),
                ("attempt_errors", models.BigIntegerField()),
                ("tokens_input", models.BigIntegerField()),
                ("tokens_output", models.BigIntegerField()),
                ("tokens_cache_read", models.BigIntegerField()),
                ("tokens_cache_write", models.BigIntegerField()),
                ("tokens_reasoning", models.BigIntegerField()),
                ("cost_nano", models.BigIntegerField()),
                ("total_us", models.BigIntegerField()),
                ("upstream_us", models.BigIntegerField()),
                ("bytes_in", models.BigIntegerField()),
                ("bytes_out", models.BigIntegerField()),
                ("h_total", models.JSONField()),
                ("h_first_token", models.JSONField()),
                ("key_id", models.TextField()),
                ("team", models.TextField()),
                ("service", models.TextField()),
                ("feature", models.TextField()),
                ("environment", models.TextField()),
            ],
            options={
                "db_table": "usage_rollup_1h",
                "abstract": False,
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="UsageRollup1m",
            fields=[
                ("pk", models.CompositePrimaryKey("bucket", "dimensions", blank=True, editable=False, primary_key=True, serialize=False)),
                ("bucket", models.DateTimeField()),
                ("dimensions", models.UUIDField()),
                ("organisation", models.TextField()),
                ("simulated", models.BooleanField()),
                ("route", models.TextField()),
                ("provider", models.TextField()),
                ("endpoint", models.TextField()),
                ("model", models.TextField()),
                ("requests", models.BigIntegerField()),
                ("ok", models.BigIntegerField()),
                ("error", models.BigIntegerField()),
                ("cancelled", models.BigIntegerField()),
                ("refused", models.BigIntegerField()),
                ("unknown", models.BigIntegerField()),
                ("estimated", models.BigIntegerField()),
                ("attempts", models.BigIntegerField()),
                ("attempt_errors", models.BigIntegerField()),
                ("tokens_input", models.BigIntegerField()),
                ("tokens_output", models.BigIntegerField()),
                ("tokens_cache_read", models.BigIntegerField()),
                ("tokens_cache_write", models.BigIntegerField()),
                ("tokens_reasoning", models.BigIntegerField()),
                ("cost_nano", models.BigIntegerField()),
                ("total_us", models.BigIntegerField()),
                ("upstream_us", models.BigIntegerField()),
                ("bytes_in", models.BigIntegerField()),
                ("bytes_out", models.BigIntegerField()),
                ("h_total", models.JSONField()),
                ("h_first_token", models.JSONField()),
                ("key_id", models.TextField()),
                ("team", models.TextField()),
                ("service", models.TextField()),
                ("feature", models.TextField()),
                ("environment", models.TextField()),
            ],
            options={
                "db_table": "usage_rollup_1m",
                "abstract": False,
                "managed": False,
            },
        ),
    ]
