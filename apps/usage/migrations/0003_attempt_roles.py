"""The single attempt that columns tell says its role, as stored ones do."""

from django.db import migrations

BEFORE = """
CREATE OR REPLACE FUNCTION usage_attempts(r usage_request) RETURNS jsonb
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
AFTER = BEFORE.replace("r.upstream_request_id))", "r.upstream_request_id, 'role', 'first'))")


class Migration(migrations.Migration):
    dependencies = [("usage", "0002_summaries")]
    operations = [migrations.RunSQL(AFTER, BEFORE)]
