"""Grants, returns, settlements and releases of leases: the only code that changes windows and leases.

Locks, always in this order, so that nothing can deadlock: the holder's row, budgets by id (grants only), windows by id. A lease is changed only
under its window's lock. Time is ``clock_timestamp()``; the calendar is computed by ``budgets_window_at``.

The rule of grants: ``spent + leased + overrun + x <= limit``. An overrun is real money, so it takes room like spend;
it is kept apart because it was spent beyond what the wall was asked for.
"""

from __future__ import annotations

from django.db import migrations

CREATE = """
-- The first instant of a local date. Midnight may not exist (clocks jump over it: the day begins at the jump) or exist twice
-- (clocks are set back to it: the day begins at the first).
CREATE FUNCTION public.budgets_day_start(day date, zone text) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    plain timestamptz := day::timestamp AT TIME ZONE zone;
    before timestamptz := plain - interval '3 hours';
    early timestamptz := (day::timestamp - ((before AT TIME ZONE zone) - (before AT TIME ZONE 'UTC'))) AT TIME ZONE 'UTC';
BEGIN
    RETURN CASE WHEN early < plain AND early AT TIME ZONE zone = day::timestamp THEN early ELSE plain END;
END $$;

-- The calendar window that holds an instant. Windows are consecutive: each ends where the next starts, also where a local
-- date comes twice (clocks set back across midnight).
CREATE FUNCTION public.budgets_window_at(kind text, zone text, at timestamptz, OUT starts_at timestamptz, OUT ends_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    step interval := CASE kind WHEN 'day' THEN interval '1 day' WHEN 'month' THEN interval '1 month' END;
    first date := date_trunc(kind, at AT TIME ZONE zone)::date;
BEGIN
    IF step IS NULL THEN
        RAISE EXCEPTION 'unknown window %: day or month', kind;
    END IF;
    starts_at := public.budgets_day_start(first, zone);
    IF at < starts_at THEN
        first := (first - step)::date;
        starts_at := public.budgets_day_start(first, zone);
    END IF;
    ends_at := public.budgets_day_start((first + step)::date, zone);
    IF at >= ends_at THEN
        first := (first + step)::date;
        starts_at := ends_at;
        ends_at := public.budgets_day_start((first + step)::date, zone);
    END IF;
END $$;

-- Serialises one holder's calls with its release; raises BH001 once it was declared gone.
CREATE FUNCTION public.budgets_holder_lock(boot uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    released timestamptz;
BEGIN
    INSERT INTO public.budgets_leaseholder (boot_id) VALUES (boot) ON CONFLICT DO NOTHING;
    SELECT h.released_at INTO released FROM public.budgets_leaseholder AS h WHERE h.boot_id = boot FOR UPDATE;
    IF released IS NOT NULL THEN
        RAISE EXCEPTION 'proxy % was declared gone at % and its leases were given away', boot, released
            USING ERRCODE = 'BH001', HINT = 'Restart the proxy: a new process has a new boot id.';
    END IF;
END $$;

CREATE FUNCTION proxy_api.lease_grant(boot uuid, wants jsonb)
RETURNS TABLE (budget text, lease bigint, window_id bigint, generation int, granted bigint, returned bigint,
               starts_at_ms bigint, ends_at_ms bigint, limit_nano bigint, spent bigint, leased bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    at timestamptz;
    windows bigint[];
    item record;
    held public.budgets_lease%ROWTYPE;
    others bigint;
    remaining numeric;
    give bigint;
BEGIN
    IF boot IS NULL OR jsonb_typeof(wants) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'lease_grant takes a boot id and an array of wants';
    END IF;
    PERFORM public.budgets_holder_lock(boot);
    at := clock_timestamp();

    -- FOR SHARE: a change of the limit either waits for this window and then changes it too, or is read here.
    INSERT INTO public.budgets_budgetwindow (budget_id, starts_at, ends_at, limit_nano, ceiling_nano)
    SELECT b.id, f.starts_at, f.ends_at, b.limit_nano, b.limit_nano
      FROM public.budgets_budget AS b, LATERAL public.budgets_window_at(b.window, b.timezone, at) AS f
     WHERE b.id IN (SELECT (e.value ->> 'budget')::uuid FROM jsonb_array_elements(wants) AS e
                     WHERE pg_input_is_valid(e.value ->> 'budget', 'uuid'))
       AND NOT EXISTS (SELECT 1 FROM public.budgets_budgetwindow AS w
                        WHERE w.budget_id = b.id AND w.starts_at = f.starts_at AND w.ends_at = f.ends_at)
     ORDER BY b.id
       FOR SHARE OF b
    ON CONFLICT DO NOTHING;

    SELECT array_agg(w.id) INTO windows
      FROM public.budgets_budget AS b
     CROSS JOIN LATERAL public.budgets_window_at(b.window, b.timezone, at) AS f
      JOIN public.budgets_budgetwindow AS w ON w.budget_id = b.id AND w.starts_at = f.starts_at AND w.ends_at = f.ends_at
     WHERE b.id IN (SELECT (e.value ->> 'budget')::uuid FROM jsonb_array_elements(wants) AS e
                     WHERE pg_input_is_valid(e.value ->> 'budget', 'uuid'));
    PERFORM 1 FROM public.budgets_budgetwindow AS w WHERE w.id = ANY (windows) ORDER BY w.id FOR UPDATE;

    FOR item IN
        SELECT w.*, x.need, x.want
          FROM public.budgets_budgetwindow AS w
          JOIN (SELECT (e.value ->> 'budget')::uuid AS budget_id,
                       greatest(0, max((e.value ->> 'need')::bigint)) AS need,
                       greatest(0, max((e.value ->> 'want')::bigint)) AS want
                  FROM jsonb_array_elements(wants) AS e WHERE pg_input_is_valid(e.value ->> 'budget', 'uuid') GROUP BY 1) AS x
            ON x.budget_id = w.budget_id
         WHERE w.id = ANY (windows)
         ORDER BY w.id
    LOOP
        SELECT l.* INTO held FROM public.budgets_lease AS l
         WHERE l.window_id = item.id AND l.boot_id = lease_grant.boot AND l.state = 'open';
        SELECT count(*) INTO others FROM public.budgets_lease AS l
         WHERE l.window_id = item.id AND l.state = 'open' AND l.boot_id <> lease_grant.boot
           AND l.granted_nano > l.returned_nano + l.settled_nano;
        remaining := greatest(0, item.limit_nano::numeric - item.spent_nano - item.leased_nano - item.overrun_nano);
        -- At least the need; more only as a fair share, so that slices shrink near the limit.
        give := CASE WHEN item.need > remaining THEN 0
                     ELSE least(remaining, greatest(item.need, least(item.want, div(remaining, 4 * (others + 1)))),
                                9223372036854775807 - coalesce(held.granted_nano, 0)) END;
        IF give > 0 THEN
            UPDATE public.budgets_budgetwindow AS w SET leased_nano = w.leased_nano + give WHERE w.id = item.id;
            IF held.id IS NULL THEN
                INSERT INTO public.budgets_lease AS l (window_id, boot_id, generation, granted_nano)
                VALUES (item.id, lease_grant.boot, 1, give) RETURNING l.* INTO held;
            ELSE
                UPDATE public.budgets_lease AS l SET granted_nano = l.granted_nano + give, generation = l.generation + 1
                 WHERE l.id = held.id RETURNING l.* INTO held;
            END IF;
        ELSIF item.need > 0 THEN
            PERFORM pg_notify('bulkhead_recall', item.id::text);
        END IF;
        budget := item.budget_id::text;
        lease := coalesce(held.id, 0);
        window_id := item.id;
        generation := coalesce(held.generation, 0);
        granted := coalesce(held.granted_nano, 0);
        returned := coalesce(held.returned_nano, 0);
        starts_at_ms := (extract(epoch FROM item.starts_at) * 1000)::bigint;
        ends_at_ms := (extract(epoch FROM item.ends_at) * 1000)::bigint;
        limit_nano := item.limit_nano;
        spent := least(item.spent_nano::numeric + item.overrun_nano, 9223372036854775807)::bigint;
        leased := item.leased_nano + give;
        RETURN NEXT;
    END LOOP;
END $$;

-- Open leases as LeaseState rows. An ended window whose lease holds nothing is of no use to anybody and left out.
CREATE FUNCTION public.budgets_lease_states(boot uuid, leases bigint[])
RETURNS TABLE (budget text, lease bigint, window_id bigint, generation int, granted bigint, returned bigint,
               starts_at_ms bigint, ends_at_ms bigint, limit_nano bigint, spent bigint, leased bigint)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT w.budget_id::text, l.id, w.id, l.generation, l.granted_nano, l.returned_nano,
           (extract(epoch FROM w.starts_at) * 1000)::bigint, (extract(epoch FROM w.ends_at) * 1000)::bigint,
           w.limit_nano, least(w.spent_nano::numeric + w.overrun_nano, 9223372036854775807)::bigint, w.leased_nano
      FROM public.budgets_lease AS l JOIN public.budgets_budgetwindow AS w ON w.id = l.window_id
     WHERE l.boot_id = budgets_lease_states.boot AND l.state = 'open'
       AND CASE WHEN leases IS NULL THEN w.ends_at > clock_timestamp() OR l.granted_nano > l.returned_nano + l.settled_nano
                ELSE l.id = ANY (leases) END
     ORDER BY l.id
$$;

CREATE FUNCTION proxy_api.lease_return(boot uuid, returns jsonb)
RETURNS TABLE (budget text, lease bigint, window_id bigint, generation int, granted bigint, returned bigint,
               starts_at_ms bigint, ends_at_ms bigint, limit_nano bigint, spent bigint, leased bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    ids bigint[];
BEGIN
    IF boot IS NULL OR jsonb_typeof(returns) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'lease_return takes a boot id and an array of returns';
    END IF;
    PERFORM public.budgets_holder_lock(boot);
    SELECT array_agg(DISTINCT (e.value ->> 'lease')::bigint) INTO ids FROM jsonb_array_elements(returns) AS e;
    PERFORM 1 FROM public.budgets_budgetwindow AS w
      WHERE w.id IN (SELECT l.window_id FROM public.budgets_lease AS l WHERE l.id = ANY (ids) AND l.boot_id = lease_return.boot)
      ORDER BY w.id FOR UPDATE;
    WITH named AS (
        SELECT DISTINCT ON (1) (e.value ->> 'lease')::bigint AS id, (e.value ->> 'generation')::int AS generation,
               (e.value ->> 'returned')::bigint AS total
          FROM jsonb_array_elements(returns) AS e ORDER BY 1, 3 DESC
    ), given AS (
        SELECT l.id, l.window_id, least(n.total - l.returned_nano, l.granted_nano - l.returned_nano - l.settled_nano) AS more
          FROM public.budgets_lease AS l JOIN named AS n ON n.id = l.id AND n.generation = l.generation
         WHERE l.boot_id = lease_return.boot AND l.state = 'open'
    ), leases AS (
        UPDATE public.budgets_lease AS l SET returned_nano = l.returned_nano + g.more, generation = l.generation + 1
          FROM given AS g WHERE l.id = g.id AND g.more > 0
    )
    UPDATE public.budgets_budgetwindow AS w
       SET leased_nano = w.leased_nano - s.more, ceiling_nano = greatest(w.limit_nano, w.spent_nano + w.leased_nano - s.more)
      FROM (SELECT g.window_id, sum(g.more)::bigint AS more FROM given AS g WHERE g.more > 0 GROUP BY 1) AS s
     WHERE w.id = s.window_id;
    RETURN QUERY SELECT * FROM public.budgets_lease_states(boot, coalesce(ids, '{}'));
END $$;

CREATE FUNCTION proxy_api.lease_sync(boot uuid)
RETURNS TABLE (budget text, lease bigint, window_id bigint, generation int, granted bigint, returned bigint,
               starts_at_ms bigint, ends_at_ms bigint, limit_nano bigint, spent bigint, leased bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM public.budgets_holder_lock(boot);
    RETURN QUERY SELECT * FROM public.budgets_lease_states(boot, NULL);
END $$;

-- What the shipper read in the journals: each cost moves from leased to spent; what the lease did not hold is overrun, also
-- where the lease is closed. ``granted`` rises by the overrun too, so that the holder's arithmetic comes out. Costs of
-- a written-off lease are first set against what the write-off assumed. One row per window with an overrun comes back.
-- ``ending``: holders whose journals end with these costs; their leases are released in the same go.
CREATE FUNCTION public.budgets_settle(lease_ids bigint[], costs bigint[], ending uuid[])
RETURNS TABLE (budget_id uuid, window_id bigint, overrun bigint, total bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    boot uuid;
BEGIN
    INSERT INTO public.budgets_leaseholder AS h (boot_id, released_at)
    SELECT DISTINCT e.boot_id, clock_timestamp() FROM unnest(ending) AS e (boot_id) ORDER BY 1
    ON CONFLICT (boot_id) DO UPDATE SET released_at = coalesce(h.released_at, excluded.released_at);
    PERFORM 1 FROM public.budgets_budgetwindow AS w
      WHERE w.id IN (SELECT l.window_id FROM public.budgets_lease AS l
                      WHERE l.id = ANY (lease_ids) OR (l.boot_id = ANY (ending) AND l.state = 'open'))
      ORDER BY w.id FOR UPDATE;
    RETURN QUERY
    WITH charged AS (
        SELECT u.id, sum(greatest(u.cost, 0)) AS cost FROM unnest(lease_ids, costs) AS u (id, cost) GROUP BY 1
    ), within AS (
        SELECT l.id, l.window_id, l.granted_nano, l.written_off_nano, c.cost,
               least(c.cost, l.granted_nano - l.returned_nano - l.settled_nano)::bigint AS held
          FROM public.budgets_lease AS l JOIN charged AS c ON c.id = l.id
    ), parts AS (
        SELECT s.*, least(s.cost - s.held, s.written_off_nano)::bigint AS covered FROM within AS s
    ), sums AS (
        SELECT p.*, p.cost - p.held - p.covered AS excess,
               least(p.cost - p.held - p.covered, 9223372036854775807 - p.granted_nano)::bigint AS counted FROM parts AS p
    ), leases AS (
        UPDATE public.budgets_lease AS l
           SET settled_nano = l.settled_nano + s.held + s.counted, granted_nano = l.granted_nano + s.counted,
               written_off_nano = l.written_off_nano - s.covered, generation = l.generation + (s.counted > 0)::int
          FROM sums AS s WHERE l.id = s.id
    ), windows AS (
        UPDATE public.budgets_budgetwindow AS w
           SET spent_nano = w.spent_nano + g.held, leased_nano = w.leased_nano - g.held,
               overrun_nano = least(w.overrun_nano + g.excess, 9223372036854775807)::bigint
          FROM (SELECT s.window_id, sum(s.held)::bigint AS held, sum(s.excess) AS excess FROM sums AS s GROUP BY 1) AS g
         WHERE w.id = g.window_id
        RETURNING w.budget_id, w.id, least(g.excess, 9223372036854775807)::bigint AS excess, w.overrun_nano
    )
    SELECT w.budget_id, w.id, w.excess, w.overrun_nano FROM windows AS w WHERE w.excess > 0;
    FOREACH boot IN ARRAY coalesce(ending, '{}') LOOP
        PERFORM public.budgets_release(boot, false);
    END LOOP;
END $$;

-- Closes every lease of a holder, for good. write_off: what it holds counts as spent; else it is free again.
CREATE FUNCTION public.budgets_release(boot uuid, write_off boolean)
RETURNS TABLE (lease bigint, budget_id uuid, outstanding bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO public.budgets_leaseholder AS h (boot_id, released_at) VALUES (boot, clock_timestamp())
    ON CONFLICT (boot_id) DO UPDATE SET released_at = coalesce(h.released_at, excluded.released_at);
    PERFORM 1 FROM public.budgets_budgetwindow AS w
      WHERE w.id IN (SELECT l.window_id FROM public.budgets_lease AS l WHERE l.boot_id = budgets_release.boot AND l.state = 'open')
      ORDER BY w.id FOR UPDATE;
    RETURN QUERY
    WITH held AS (
        SELECT l.id, l.window_id, l.granted_nano - l.returned_nano - l.settled_nano AS rest
          FROM public.budgets_lease AS l WHERE l.boot_id = budgets_release.boot AND l.state = 'open'
    ), closed AS (
        UPDATE public.budgets_lease AS l
           SET generation = l.generation + 1,
               returned_nano = l.returned_nano + CASE WHEN write_off THEN 0 ELSE h.rest END,
               settled_nano = l.settled_nano + CASE WHEN write_off THEN h.rest ELSE 0 END,
               written_off_nano = CASE WHEN write_off THEN h.rest ELSE 0 END,
               state = CASE WHEN write_off THEN 'written_off' ELSE 'released' END
          FROM held AS h WHERE l.id = h.id
    ), windows AS (
        UPDATE public.budgets_budgetwindow AS w
           SET leased_nano = w.leased_nano - g.rest,
               spent_nano = w.spent_nano + CASE WHEN write_off THEN g.rest ELSE 0 END,
               ceiling_nano = greatest(w.limit_nano, w.spent_nano + w.leased_nano - CASE WHEN write_off THEN 0 ELSE g.rest END)
          FROM (SELECT h.window_id, sum(h.rest)::bigint AS rest FROM held AS h GROUP BY 1) AS g
         WHERE w.id = g.window_id
        RETURNING w.id, w.budget_id
    )
    SELECT h.id, w.budget_id, h.rest FROM held AS h JOIN windows AS w ON w.id = h.window_id ORDER BY h.id;
END $$;

-- A changed limit, at once: in every window that has not ended. Lowered below what is spent and held, the ceiling stays
-- there, grants stop, and the holders are asked to give back.
CREATE FUNCTION public.budgets_limit_changed(budget uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT w.id, w.limit_nano AS was, w.spent_nano + w.leased_nano AS used, b.limit_nano AS now
          FROM public.budgets_budgetwindow AS w JOIN public.budgets_budget AS b ON b.id = w.budget_id
         WHERE w.budget_id = budget AND w.ends_at > clock_timestamp()
         ORDER BY w.id FOR UPDATE OF w
    LOOP
        UPDATE public.budgets_budgetwindow AS w SET limit_nano = item.now, ceiling_nano = greatest(item.now, item.used)
         WHERE w.id = item.id;
        IF item.now < item.was THEN
            PERFORM pg_notify('bulkhead_recall', item.id::text);
        END IF;
    END LOOP;
END $$;
"""

NAMES = [
    "public.budgets_limit_changed(uuid)",
    "public.budgets_release(uuid, boolean)",
    "public.budgets_settle(bigint[], bigint[], uuid[])",
    "proxy_api.lease_sync(uuid)",
    "proxy_api.lease_return(uuid, jsonb)",
    "public.budgets_lease_states(uuid, bigint[])",
    "proxy_api.lease_grant(uuid, jsonb)",
    "public.budgets_holder_lock(uuid)",
    "public.budgets_window_at(text, text, timestamptz)",
    "public.budgets_day_start(date, text)",
]
GRANTS = "".join(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC;\n" for name in NAMES) + "".join(
    f"GRANT EXECUTE ON FUNCTION {name} TO bulkhead_proxy;\n" for name in NAMES if name.startswith("proxy_api.")
)
DROP = "".join(f"DROP FUNCTION {name};\n" for name in NAMES)


class Migration(migrations.Migration):
    dependencies = [("budgets", "0001_initial"), ("publishing", "0002_proxy_api")]

    operations = [migrations.RunSQL(CREATE + GRANTS, DROP)]
