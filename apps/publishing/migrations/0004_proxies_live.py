"""How many proxies there are: what each keeps of a limit while they cannot share it through Redis."""

from __future__ import annotations

from django.db import migrations

CREATE = """
CREATE FUNCTION proxy_api.proxies_live()
RETURNS int
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT count(*)::int FROM public.publishing_proxy AS p
     WHERE p.gone_at IS NULL AND p.last_seen_at > clock_timestamp() - interval '30 seconds'
$$;
REVOKE ALL ON FUNCTION proxy_api.proxies_live() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION proxy_api.proxies_live() TO bulkhead_proxy;
"""


class Migration(migrations.Migration):
    dependencies = [("publishing", "0003_submissions")]

    operations = [migrations.RunSQL(CREATE, "DROP FUNCTION proxy_api.proxies_live();")]
