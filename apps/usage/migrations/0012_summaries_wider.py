"""Summaries by endpoint, model and team too; of each, gaps between tokens and failures by class. Filled from the rollups and, for the
classes, from the requests that are kept. Rollups of a minute know no gaps: those of 48 hours and of whole hours are filled."""

from importlib import import_module

from django.db import migrations

summaries = import_module("apps.usage.migrations.0002_summaries")
SUMS = summaries.SUMS
NEW = {"endpoint": "CASE provider WHEN '' THEN '' ELSE provider || '/' || endpoint END", "model": "model", "team": "team"}
MINUTES, HOURS = (60, 600), (3_600, 10_800, 86_400)
_KEPT = "organisation, simulated, seconds, dimension, bucket, value"
_NARROW = ", ".join(
    f"('{name}', {value})" for name, value in {"": "''", "route": "route", "provider": "provider", **NEW}.items() if name != "team"
)
_WIDE = f"{_NARROW}, ('key_id', key_id), ('team', team)"


def _fill(source: str, seconds: int, dimension: str, where: str = "") -> str:
    """As in 0002, of a dimension that is an expression."""
    text = summaries._fill(f"(SELECT *, {NEW[dimension]} AS told FROM {source} {where}) AS source", seconds, "told")
    return text.replace(f"SELECT organisation, simulated, {seconds}, 'told'", f"SELECT organisation, simulated, {seconds}, '{dimension}'")


def _set(column: str, found: str) -> str:
    return f"""
    UPDATE usage_summary AS kept SET {column} = told.found FROM ({found}) AS told
    WHERE kept.organisation = told.organisation AND kept.simulated = told.simulated AND kept.seconds = told.seconds
      AND kept.dimension = told.dimension AND kept.bucket = told.bucket AND kept.value = told.value;
    """


def _summed(source: str, widths: tuple[int, ...], told: str, at: str, key: str, count: str) -> str:
    """Counts by key of each width and dimension. told: VALUES (dimension, value) of a row of the source."""
    return f"""
        SELECT {_KEPT}, jsonb_object_agg(key, n) AS found FROM (
            SELECT source.organisation, source.simulated, width.seconds, told.dimension,
                   date_bin(make_interval(secs => width.seconds), source.{at}, 'epoch'::timestamptz) AS bucket, told.value,
                   {key} AS key, {count} AS n
            FROM {source} CROSS JOIN (VALUES {", ".join(f"({width})" for width in widths)}) AS width (seconds)
            CROSS JOIN LATERAL (VALUES {told}) AS told (dimension, value)
            WHERE width.seconds > 10 OR told.dimension = ''
            GROUP BY 1, 2, 3, 4, 5, 6, 7
        ) AS counted GROUP BY {_KEPT}
    """


def _gaps(table: str, widths: tuple[int, ...], told: str) -> str:
    source = f"(SELECT * FROM {table} WHERE h_gap <> '{{}}') AS source CROSS JOIN LATERAL jsonb_each_text(h_gap) AS gap (at, many)"
    return _set("h_gap", _summed(source, widths, told, "bucket", "gap.at", "sum(gap.many::bigint)"))


_ASKED = "r.organisation, r.simulated, r.started_at, r.route, r.key_id, r.team"
_FAILED = f"""(
    SELECT {_ASKED}, r.provider, r.endpoint, r.model, coalesce(nullif(r.error_code, ''), r.outcome) AS class
    FROM usage_request r WHERE r.outcome IN ('error', 'refused', 'unknown')
    UNION ALL
    SELECT {_ASKED}, a ->> 'provider', a ->> 'endpoint', a ->> 'model', '~' || coalesce(nullif(a ->> 'error_code', ''), 'error')
    FROM usage_request r CROSS JOIN LATERAL jsonb_array_elements(usage_attempts(r)) AS a
    WHERE (r.outcome <> 'ok' OR r.attempts IS NOT NULL) AND a ->> 'outcome' = 'error'
) AS source"""
CLASSES = _set("classes", _summed(_FAILED, (10, *MINUTES, *HOURS), _WIDE, "started_at", "source.class", "count(*)"))
GAPS = _gaps("usage_rollup_10s", (10, *MINUTES), _NARROW) + _gaps("usage_rollup_1h", HOURS, _WIDE)


def _fills(where: str = "") -> str:
    return "".join(
        (
            *(_fill("usage_rollup_1m", seconds, dimension, where) for dimension in NEW for seconds in MINUTES),
            *(_fill("usage_rollup_1h", seconds, dimension) for dimension in NEW for seconds in HOURS),
        )
    )


COLUMNS = """
ALTER TABLE usage_summary ADD COLUMN h_gap jsonb NOT NULL DEFAULT '{}', ADD COLUMN classes jsonb NOT NULL DEFAULT '{}';
"""
REBUILD = f"""
-- All summaries anew from the rollups, and failures by class from the requests that are kept. Writers wait meanwhile.
CREATE OR REPLACE FUNCTION usage_summary_rebuild() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE usage_rollup_10s, usage_rollup_1m, usage_rollup_1h IN SHARE MODE;
    DELETE FROM usage_summary;
    {summaries.FILLS}
    {_fills()}
    {GAPS}
    {CLASSES}
END
$$;
"""
FILL = _fills("WHERE bucket > now() - interval '8 days'") + GAPS + CLASSES
BACK = """
DELETE FROM usage_summary WHERE dimension IN ('endpoint', 'model', 'team');
ALTER TABLE usage_summary DROP COLUMN h_gap, DROP COLUMN classes;
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0011_traces")]

    operations = [
        migrations.RunSQL(COLUMNS + FILL + REBUILD, summaries.REBUILD.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION") + BACK)
    ]
