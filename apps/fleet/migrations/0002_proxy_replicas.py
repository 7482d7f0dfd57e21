"""How proxies learn of replicas: ``proxy_api.proxy_replicas(known, after)``, as ``apps.contracts.fleet.REPLICAS_CHANNEL`` describes it."""

from __future__ import annotations

from django.db import migrations

CREATE = """
CREATE FUNCTION proxy_api.proxy_replicas(known bigint, after bigint)
RETURNS TABLE (epoch bigint, sequence bigint, whole boolean, endpoint jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH clock AS (
        SELECT coalesce(max(c.epoch), 0) AS epoch, coalesce(max(c.sequence), 0) AS sequence, coalesce(max(c.forgotten), 0) AS forgotten
          FROM public.fleet_fleetclock AS c
    ), asked AS (
        SELECT c.epoch, c.sequence,
               c.epoch <> proxy_replicas.known OR proxy_replicas.after < c.forgotten OR proxy_replicas.after > c.sequence
               OR proxy_replicas.after <= 0 AS whole
          FROM clock AS c
    )
    SELECT a.epoch, a.sequence, a.whole,
           CASE WHEN f.replica IS NULL THEN NULL ELSE f.body || jsonb_build_object('epoch', a.epoch, 'sequence', f.sequence) END
      FROM asked AS a
      LEFT JOIN public.fleet_replicafact AS f
             ON CASE WHEN a.whole THEN NOT f.gone ELSE f.sequence > proxy_replicas.after END
$$;
REVOKE ALL ON FUNCTION proxy_api.proxy_replicas(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION proxy_api.proxy_replicas(bigint, bigint) TO bulkhead_proxy;
"""


class Migration(migrations.Migration):
    dependencies = [("fleet", "0001_workers_deployments_replicas"), ("publishing", "0002_proxy_api")]

    operations = [migrations.RunSQL(CREATE, "DROP FUNCTION proxy_api.proxy_replicas(bigint, bigint);")]
