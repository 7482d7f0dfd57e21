"""What a proxy may ask of publishing: register, heartbeat, config_delta.

Every function is SECURITY DEFINER with a pinned search_path that ends in pg_temp, so that nothing a proxy's session
creates can stand in for a table or operator. PUBLIC's EXECUTE is revoked one by one: default privileges of a schema
cannot take away what every new function grants to PUBLIC.
"""

from __future__ import annotations

from django.db import migrations

CREATE = """
CREATE FUNCTION proxy_api.register(boot uuid, name text, host text, pid int, public_url text, admin_url text) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO public.publishing_proxy AS p
        (boot_id, name, host, pid, public_url, admin_url, state, detail, version, registered_at, last_seen_at)
    VALUES (boot, left(register.name, 200), left(register.host, 300), register.pid, left(register.public_url, 500),
            left(register.admin_url, 500), 'starting', '{}', 0, clock_timestamp(), clock_timestamp())
    ON CONFLICT (boot_id) DO UPDATE
        SET name = excluded.name, host = excluded.host, pid = excluded.pid, public_url = excluded.public_url,
            admin_url = excluded.admin_url, last_seen_at = excluded.last_seen_at
    RETURNING (extract(epoch FROM clock_timestamp()) * 1000)::bigint
$$;

-- An unknown boot id (a restored database) is answered as a lost connection: the proxy connects and registers again.
-- gone_at is final: the last heartbeat of a proxy that died may arrive after its end was declared.
CREATE FUNCTION proxy_api.heartbeat(boot uuid, version bigint, state text, detail jsonb)
RETURNS TABLE (now_ms bigint, head bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE public.publishing_proxy AS p
       SET state = CASE WHEN p.gone_at IS NULL THEN left(heartbeat.state, 20) ELSE p.state END,
           detail = coalesce(heartbeat.detail, '{}'), version = heartbeat.version,
           acked_at = CASE WHEN p.version = heartbeat.version THEN p.acked_at ELSE clock_timestamp() END,
           last_seen_at = clock_timestamp()
     WHERE p.boot_id = heartbeat.boot;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'proxy % is not registered', heartbeat.boot USING ERRCODE = 'connection_does_not_exist', HINT = 'Call proxy_api.register.';
    END IF;
    RETURN QUERY SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
                        coalesce((SELECT v.number FROM public.publishing_version AS v ORDER BY v.number DESC LIMIT 1), 0);
END $$;

-- One statement, one snapshot: head and fragments belong together. From base 0, and from a base that this database has
-- not reached (it was restored), the rows are the whole state: then version < base tells the proxy to start over.
CREATE FUNCTION proxy_api.config_delta(base bigint)
RETURNS TABLE (version bigint, section text, object_id text, body bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH head AS (SELECT coalesce(max(v.number), 0) AS number FROM public.publishing_version AS v),
    start AS (SELECT CASE WHEN config_delta.base > head.number OR config_delta.base < 0 THEN 0 ELSE config_delta.base END AS number FROM head),
    latest AS (
        SELECT DISTINCT ON (f.section, f.object_id) f.section, f.object_id, f.body
          FROM public.publishing_fragment AS f, start
         WHERE f.version > start.number
         ORDER BY f.section, f.object_id, f.version DESC
    ),
    changes AS (SELECT l.section, l.object_id, l.body FROM latest AS l, start WHERE l.body IS NOT NULL OR start.number > 0)
    SELECT head.number, coalesce(c.section, '')::text, coalesce(c.object_id, '')::text, c.body
      FROM head LEFT JOIN changes AS c ON true
$$;

REVOKE ALL ON FUNCTION proxy_api.register(uuid, text, text, int, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION proxy_api.heartbeat(uuid, bigint, text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION proxy_api.config_delta(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION proxy_api.register(uuid, text, text, int, text, text) TO bulkhead_proxy;
GRANT EXECUTE ON FUNCTION proxy_api.heartbeat(uuid, bigint, text, jsonb) TO bulkhead_proxy;
GRANT EXECUTE ON FUNCTION proxy_api.config_delta(bigint) TO bulkhead_proxy;
"""

DROP = """
DROP FUNCTION proxy_api.register(uuid, text, text, int, text, text);
DROP FUNCTION proxy_api.heartbeat(uuid, bigint, text, jsonb);
DROP FUNCTION proxy_api.config_delta(bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("publishing", "0001_initial")]

    operations = [migrations.RunSQL(CREATE, DROP)]
