"""Usage made in bulk for the dashboard's tests: rows and rollups written directly, consistent with each other.

Requests are spread evenly over a time before now; outcomes, routes, providers and keys follow from the row's number, so that a
run can be repeated and totals can be computed by hand. One statement each, so ten thousand rows take a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.db import connection

from apps.accounts.models import Organisation

_ROWS = """
CREATE TEMP TABLE made AS
SELECT n,
       %(start)s::timestamptz + n * %(gap)s::interval AS started_at,
       (%(routes)s::text[])[1 + n %% %(n_routes)s] AS route,
       (%(keys)s::text[])[1 + n %% %(n_keys)s] AS key_id,
       CASE WHEN n %% 50 = 7 THEN 'error' WHEN n %% 50 = 13 THEN 'refused' WHEN n %% 100 = 23 THEN 'cancelled'
            WHEN n %% 500 = 29 THEN 'unknown'
            ELSE 'ok' END AS outcome,
       CASE WHEN n %% 50 = 13 THEN '' ELSE (%(providers)s::text[])[1 + (n / 3) %% %(n_providers)s] END AS provider,
       (n %% 3 = 0) AS stream,
       200 + n %% 1800 AS tin, 20 + n %% 400 AS tout,
       (200000 + (n %% 997) * 1500 + (n %% 89) * (n %% 89) * 200)::bigint AS total_us
FROM generate_series(0, %(count)s - 1) AS n
"""

_REQUESTS = """
INSERT INTO usage_request (id, started_at, settled_at, organisation, simulated, key_id, kind, route, requested_model, stream,
    outcome, status, error_code, error_step, environment, feature, tags, "user", metadata, team, service, config_version, flags, input_hash,
    provider, endpoint, model, attempt_count, attempts, tokens_input, tokens_output, tokens_cache_read, tokens_cache_write,
    tokens_reasoning, cost_nano, estimated, first_token_us, total_us, upstream_us, bytes_in, bytes_out, proxy)
SELECT (lpad(to_hex(floor(extract(epoch FROM started_at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
        || substr(md5(n::text), 4, 15))::uuid,
    started_at, started_at + interval '2 seconds', %(organisation)s, %(simulated)s, key_id, 'chat', route, route, stream, outcome,
    CASE outcome WHEN 'ok' THEN 200 WHEN 'error' THEN 502 WHEN 'refused' THEN 429 WHEN 'unknown' THEN 0 ELSE 499 END,
    CASE outcome WHEN 'error' THEN 'upstream_error' WHEN 'refused' THEN 'budget_exceeded' ELSE '' END,
    CASE outcome WHEN 'refused' THEN 'reserve' ELSE '' END,
    'production', 'search', '["beta"]', 'user-' || n %% 40, '{}', '', '', 1, '[]', md5(n::text), provider,
    CASE provider WHEN '' THEN '' ELSE 'main' END, CASE provider WHEN '' THEN '' ELSE 'sim-model' END,
    CASE WHEN outcome = 'refused' THEN 0 WHEN n %% 50 = 7 THEN 2 ELSE 1 END,
    CASE WHEN outcome = 'refused' THEN '[]'::jsonb ELSE
        CASE WHEN n %% 50 = 7 THEN jsonb_build_array(jsonb_build_object('provider', 'first-choice', 'endpoint', 'main', 'model',
            'sim-model',
            'region', 'eu', 'simulated', true, 'outcome', 'error', 'status', 503, 'error_code', 'upstream_error', 'sent_us', 400,
            'first_byte_us', -1, 'ended_us', total_us / 3, 'tokens', jsonb_build_object('input', 0, 'output', 0, 'cache_read', 0,
            'cache_write', 0, 'reasoning', 0), 'cost_nano', 0, 'price_version', 'list-2026', 'estimated', false, 'charges', '[]'::jsonb,
            'upstream_request_id', '')) ELSE '[]'::jsonb END
        || jsonb_build_array(jsonb_build_object('provider', provider, 'endpoint', 'main', 'model', 'sim-model', 'region', 'eu',
            'simulated', true, 'outcome', outcome, 'status', 200, 'error_code', CASE outcome WHEN 'error' THEN 'upstream_error' ELSE '' END,
            'sent_us', CASE WHEN n %% 50 = 7 THEN total_us / 3 + 300 ELSE 400 END, 'first_byte_us', total_us / 2,
            'ended_us', total_us - 300,
            'tokens', jsonb_build_object('input', tin, 'output', tout, 'cache_read', 0, 'cache_write', 0, 'reasoning', 0),
            'cost_nano', tin * 150 + tout * 600, 'price_version', 'list-2026', 'estimated', outcome = 'unknown', 'charges', '[]'::jsonb,
            'upstream_request_id', 'up-' || n)) END,
    tin, CASE outcome WHEN 'refused' THEN 0 ELSE tout END, 0, 0, 0, CASE outcome WHEN 'refused' THEN 0 ELSE tin * 150 + tout * 600 END,
    outcome = 'unknown', CASE WHEN stream AND outcome = 'ok' THEN total_us / 4 ELSE -1 END, total_us, total_us - 900, tin * 4, tout * 5, ''
FROM made
"""

_WIDE = ", key_id, team, service, feature, environment"


def _rollup(table: str, seconds: int, wide: bool) -> str:
    dims = "route, provider, endpoint, model" + (_WIDE if wide else "")
    md5 = "md5(concat_ws(',', " + dims + ", %(organisation)s::text, %(simulated)s::text))::uuid"
    return f"""
    WITH part AS (
        SELECT *, date_bin('{seconds} seconds', started_at, 'epoch'::timestamptz) AS bucket,
               ceil(log(2, greatest(total_us, 1)::numeric) * 32)::int - 1 AS it,
               CASE WHEN first_token_us > 0 THEN ceil(log(2, first_token_us::numeric) * 32)::int - 1 END AS ift
        FROM usage_request WHERE organisation = %(organisation)s AND simulated = %(simulated)s
    ), totals AS (
        SELECT bucket, {dims}, jsonb_object_agg(it, c) AS h FROM (SELECT bucket, {dims}, it, count(*) AS c FROM part
        WHERE outcome IN ('ok', 'error') GROUP BY bucket, {dims}, it) AS x GROUP BY bucket, {dims}
    ), firsts AS (
        SELECT bucket, {dims}, jsonb_object_agg(ift, c) AS h FROM (SELECT bucket, {dims}, ift, count(*) AS c FROM part
        WHERE ift IS NOT NULL GROUP BY bucket, {dims}, ift) AS x GROUP BY bucket, {dims}
    ), sums AS (
        SELECT bucket, {dims}, count(*) AS requests, count(*) FILTER (WHERE outcome = 'ok') AS ok,
            count(*) FILTER (WHERE outcome = 'error') AS error, count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled,
            count(*) FILTER (WHERE outcome = 'refused') AS refused, count(*) FILTER (WHERE outcome = 'unknown') AS unknown,
            count(*) FILTER (WHERE estimated) AS estimated, sum(attempt_count) AS attempts, sum(tokens_input) AS tokens_input,
            sum(tokens_output) AS tokens_output, sum(cost_nano) AS cost_nano, sum(total_us) AS total_us, sum(upstream_us) AS upstream_us,
            sum(bytes_in) AS bytes_in, sum(bytes_out) AS bytes_out
        FROM part GROUP BY bucket, {dims}
    )
    INSERT INTO {table} (bucket, dimensions, simulated, organisation, {dims}, requests, ok, error, cancelled, refused, unknown, estimated,
        attempts, attempt_errors, tokens_input, tokens_output, tokens_cache_read, tokens_cache_write, tokens_reasoning, cost_nano, total_us,
        upstream_us, bytes_in, bytes_out, h_total, h_first_token)
    SELECT bucket, {md5}, %(simulated)s, %(organisation)s, {dims}, requests, ok, error, cancelled, refused, unknown, estimated, attempts,
        error, tokens_input, tokens_output, 0, 0, 0, cost_nano, total_us, upstream_us, bytes_in, bytes_out,
        coalesce(totals.h, '{{}}'), coalesce(firsts.h, '{{}}')
    FROM sums LEFT JOIN totals USING (bucket, {dims}) LEFT JOIN firsts USING (bucket, {dims})
    ON CONFLICT DO NOTHING
    """


def usage_generate(
    *,
    organisation: Organisation,
    count: int,
    over: timedelta = timedelta(minutes=50),
    simulated: bool = True,
    routes: Sequence[str] = ("demo-chat", "support-chat", "summaries"),
    providers: Sequence[str] = ("sim-east", "sim-west"),
    keys: Sequence[str] = ("",),
    end: datetime | None = None,
) -> None:
    """``count`` requests, the newest ``over / count`` before ``end`` (default: 30 s ago, so that live rates see them), with all rollups."""
    last = end or datetime.now(UTC) - timedelta(seconds=15)
    start, gap = last - over, over / count
    parameters = {
        "start": start, "gap": gap, "count": count, "organisation": str(organisation.pk), "simulated": simulated,
        "routes": list(routes), "n_routes": len(routes), "providers": list(providers), "n_providers": len(providers),
        "keys": list(keys), "n_keys": len(keys),
    }  # fmt: skip
    with connection.cursor() as cursor:
        day = start.date()
        while day <= last.date():
            cursor.execute("SELECT usage_partition_ensure(%s)", [day])
            day += timedelta(days=1)
        cursor.execute("DROP TABLE IF EXISTS made")
        cursor.execute(_ROWS, parameters)
        cursor.execute(_REQUESTS, parameters)
        cursor.execute("DROP TABLE made")
        for table, seconds, wide in (("usage_rollup_10s", 10, False), ("usage_rollup_1m", 60, True), ("usage_rollup_1h", 3_600, True)):
            cursor.execute(_rollup(table, seconds, wide), parameters)
        cursor.execute("SELECT usage_summary_rebuild()")
        cursor.execute("ANALYZE usage_request, usage_rollup_10s, usage_rollup_1m, usage_rollup_1h, usage_summary")
