"""What pages read: summaries by one dimension at a time, filled from the rollups that are there."""

from django.db import migrations

COUNTERS = (
    "requests", "ok", "error", "cancelled", "refused", "unknown", "estimated", "attempts", "attempt_errors", "tokens_input",
    "tokens_output", "tokens_cache_read", "cost_nano",
)  # fmt: skip
SUMS = ", ".join(COUNTERS)
TABLE = f"""
-- fillfactor: an upsert of a live bucket finds room on its page (a HOT update), so no index is touched.
CREATE TABLE usage_summary (
    organisation text COLLATE "C" NOT NULL,
    simulated boolean NOT NULL,
    seconds integer NOT NULL,
    dimension text COLLATE "C" NOT NULL,
    bucket timestamptz NOT NULL,
    value text COLLATE "C" NOT NULL,
    {", ".join(f"{name} bigint NOT NULL" for name in COUNTERS)},
    h_total jsonb NOT NULL,
    h_first_token jsonb NOT NULL,
    PRIMARY KEY (organisation, simulated, seconds, dimension, bucket, value)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
CREATE INDEX usage_summary_age ON usage_summary (seconds, bucket);
COMMENT ON TABLE usage_summary IS 'Sums by time alone (dimension empty) and by one dimension at a time; bucket is the start of so many seconds';
"""


def _fill(source: str, seconds: int, dimension: str) -> str:
    """Adds one width and dimension from a rollup. Sets of (bucket, value, index) are summed first: no histogram is merged pairwise."""
    value = dimension or "''"
    bucket = f"date_bin('{seconds} seconds', bucket, 'epoch'::timestamptz)"
    return f"""
    WITH sums AS (
        SELECT organisation, simulated, {bucket} AS bin, {value} AS value, {", ".join(f"sum({name})::bigint AS {name}" for name in COUNTERS)}
        FROM {source} GROUP BY 1, 2, 3, 4
    ), counted AS (
        SELECT organisation, simulated, {bucket} AS bin, {value} AS value, kind, i, sum(n::bigint) AS n
        FROM {source} CROSS JOIN LATERAL (
            SELECT 't', key, value FROM jsonb_each_text(h_total) UNION ALL SELECT 'f', key, value FROM jsonb_each_text(h_first_token)
        ) AS h(kind, i, n) GROUP BY 1, 2, 3, 4, 5, 6
    ), histograms AS (
        SELECT organisation, simulated, bin, value, jsonb_object_agg(i, n) FILTER (WHERE kind = 't') AS t,
               jsonb_object_agg(i, n) FILTER (WHERE kind = 'f') AS f
        FROM counted GROUP BY 1, 2, 3, 4
    )
    INSERT INTO usage_summary (organisation, simulated, seconds, dimension, bucket, value, {SUMS}, h_total, h_first_token)
    SELECT organisation, simulated, {seconds}, '{dimension}', bin, value, {SUMS}, coalesce(t, '{{}}'), coalesce(f, '{{}}')
    FROM sums LEFT JOIN histograms USING (organisation, simulated, bin, value);
"""


FILLS = "".join(
    (
        _fill("usage_rollup_10s", 10, ""),
        *(_fill("usage_rollup_1m", seconds, "") for seconds in (60, 600)),
        *(_fill("usage_rollup_1h", seconds, "") for seconds in (3_600, 10_800, 86_400)),
        *(_fill("usage_rollup_1m", seconds, dimension) for dimension in ("route", "provider", "key_id") for seconds in (60, 600)),
        *(
            _fill("usage_rollup_1h", seconds, dimension)
            for dimension in ("route", "provider", "key_id")
            for seconds in (3_600, 10_800, 86_400)
        ),
    )
)
REBUILD = f"""
-- All summaries anew from the rollups. Writers wait meanwhile.
CREATE FUNCTION usage_summary_rebuild() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE usage_rollup_10s, usage_rollup_1m, usage_rollup_1h IN SHARE MODE;
    DELETE FROM usage_summary;
    {FILLS}
END
$$;
SELECT usage_summary_rebuild();
"""
DROP = "DROP FUNCTION usage_summary_rebuild(); DROP TABLE usage_summary;"


class Migration(migrations.Migration):
    dependencies = [("usage", "0001_tables")]

    operations = [migrations.RunSQL(TABLE + REBUILD, DROP)]
