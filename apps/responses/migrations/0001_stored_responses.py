"""Stored responses, and what a proxy may ask of them: put one, read one with its earlier turns, delete one.

As with every function of ``proxy_api``: SECURITY DEFINER with a pinned search_path, nothing for PUBLIC. Each of them takes the key that
asks, and sees rows of that key alone.
"""

from __future__ import annotations

from django.db import migrations, models

CREATE = """
-- Earlier turns live as long as the last one that needs them. They are not written again for less than a twentieth of the time.
CREATE FUNCTION proxy_api.response_put(key text, response text, previous text, organisation text, seconds bigint, size bigint, sealed bytea)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    until timestamptz := clock_timestamp() + make_interval(secs => response_put.seconds);
BEGIN
    INSERT INTO public.responses_storedresponse AS r (key_id, response_id, previous, organisation, created_at, expires_at, size, sealed)
    VALUES (response_put.key, response_put.response, response_put.previous, response_put.organisation, clock_timestamp(), until,
            response_put.size, response_put.sealed)
    ON CONFLICT (key_id, response_id) DO UPDATE
        SET previous = excluded.previous, organisation = excluded.organisation, created_at = excluded.created_at,
            expires_at = excluded.expires_at, size = excluded.size, sealed = excluded.sealed;
    IF response_put.previous <> '' THEN
        WITH RECURSIVE chain AS (
            SELECT r.response_id, r.previous, 1 AS turn FROM public.responses_storedresponse AS r
             WHERE r.key_id = response_put.key AND r.response_id = response_put.previous
            UNION ALL
            SELECT r.response_id, r.previous, c.turn + 1 FROM chain AS c JOIN public.responses_storedresponse AS r
                ON r.key_id = response_put.key AND r.response_id = c.previous
             WHERE c.turn < 10000
        )
        UPDATE public.responses_storedresponse AS r SET expires_at = until
          FROM chain AS c
         WHERE r.key_id = response_put.key AND r.response_id = c.response_id
           AND r.expires_at < until - make_interval(secs => response_put.seconds / 20.0);
    END IF;
END $$;

-- The response and its earlier turns, newest first, as long as they are not more or larger than asked for. Whoever gets a last row whose
-- ``previous`` is not empty has not got the beginning.
CREATE FUNCTION proxy_api.response_chain(key text, response text, turns int, bytes bigint)
RETURNS TABLE (response_id text, previous text, created_ms bigint, sealed bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH RECURSIVE chain AS (
        SELECT r.response_id, r.previous, r.created_at, r.sealed, 1 AS turn, r.size
          FROM public.responses_storedresponse AS r
         WHERE r.key_id = response_chain.key AND r.response_id = response_chain.response AND r.expires_at > clock_timestamp()
        UNION ALL
        SELECT r.response_id, r.previous, r.created_at, r.sealed, c.turn + 1, c.size + r.size
          FROM chain AS c JOIN public.responses_storedresponse AS r
            ON r.key_id = response_chain.key AND r.response_id = c.previous AND r.expires_at > clock_timestamp()
         WHERE c.turn < response_chain.turns AND c.size + r.size <= response_chain.bytes
    )
    SELECT c.response_id::text, c.previous::text, (extract(epoch FROM c.created_at) * 1000)::bigint, c.sealed FROM chain AS c ORDER BY c.turn
$$;

CREATE FUNCTION proxy_api.response_drop(key text, response text)
RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH gone AS (
        DELETE FROM public.responses_storedresponse AS r
         WHERE r.key_id = response_drop.key AND r.response_id = response_drop.response AND r.expires_at > clock_timestamp()
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM gone)
$$;
"""
FUNCTIONS = (
    "proxy_api.response_put(text, text, text, text, bigint, bigint, bytea)",
    "proxy_api.response_chain(text, text, int, bigint)",
    "proxy_api.response_drop(text, text)",
)
GRANT = "".join(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC;\nGRANT EXECUTE ON FUNCTION {name} TO bulkhead_proxy;\n" for name in FUNCTIONS)
DROP = "".join(f"DROP FUNCTION {name};\n" for name in FUNCTIONS)


class Migration(migrations.Migration):
    initial = True
    dependencies = [("publishing", "0002_proxy_api")]

    operations = [
        migrations.CreateModel(
            name="StoredResponse",
            fields=[
                ("pk", models.CompositePrimaryKey("key_id", "response_id", blank=True, editable=False, primary_key=True, serialize=False)),
                ("key_id", models.CharField(max_length=36)),
                ("response_id", models.CharField(max_length=200)),
                ("previous", models.CharField(blank=True, default="", max_length=200)),
                ("organisation", models.CharField(max_length=36)),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(db_index=True)),
                ("size", models.BigIntegerField()),
                ("sealed", models.BinaryField()),
            ],
            options={"indexes": [models.Index(fields=["organisation", "created_at"], name="stored_response_of")]},
        ),
        migrations.RunSQL(CREATE + GRANT, DROP),
    ]
