"""What grants know since budgets are for more than organisations and keys.

Weeks and quarters; windows of single users; budgets that only count, whose grants are never refused; limits that an override raises
until it runs out, by the database's clock, with nobody having to end it. Locks and the order of locks are as before.
"""

from __future__ import annotations

from django.db import migrations

CREATE = """
-- What a batch of wants names: a budget, or one user's window of it as ``<budget>/<user>``; several rows for one are one.
CREATE FUNCTION public.budgets_asked(wants jsonb) RETURNS TABLE (budget_id uuid, subject text, need bigint, want bigint)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT left(e.value ->> 'budget', 36)::uuid, substr(e.value ->> 'budget', 38),
           greatest(0, max((e.value ->> 'need')::bigint)), greatest(0, max((e.value ->> 'want')::bigint))
      FROM jsonb_array_elements(wants) AS e
     WHERE pg_input_is_valid(left(e.value ->> 'budget', 36), 'uuid') AND substr(e.value ->> 'budget', 37, 1) IN ('', '/')
     GROUP BY 1, 2
$$;

-- A budget's limit at an instant: its own, and what an override in force adds.
CREATE FUNCTION public.budgets_limit_at(budget uuid, at timestamptz) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT least(b.limit_nano::numeric + coalesce((
               SELECT sum(o.amount_nano) FROM public.budgets_budgetoverride AS o
                WHERE o.budget_id = b.id AND o.ended_at IS NULL AND o.starts_at <= at AND o.expires_at > at), 0), 2e18)::bigint
      FROM public.budgets_budget AS b WHERE b.id = budget
$$;

CREATE OR REPLACE FUNCTION public.budgets_window_at(kind text, zone text, at timestamptz, OUT starts_at timestamptz, OUT ends_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    step interval := CASE kind WHEN 'day' THEN interval '1 day' WHEN 'week' THEN interval '7 days'
                               WHEN 'month' THEN interval '1 month' WHEN 'quarter' THEN interval '3 months' END;
    first date := date_trunc(kind, at AT TIME ZONE zone)::date;
BEGIN
    IF step IS NULL THEN
        RAISE EXCEPTION 'unknown window %: day, week, month or quarter', kind;
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

CREATE OR REPLACE FUNCTION proxy_api.lease_grant(boot uuid, wants jsonb)
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
    INSERT INTO public.budgets_budgetwindow (budget_id, subject, starts_at, ends_at, limit_nano, ceiling_nano)
    SELECT b.id, a.subject, f.starts_at, f.ends_at, b.limit_nano, b.limit_nano
      FROM public.budgets_asked(wants) AS a JOIN public.budgets_budget AS b ON b.id = a.budget_id
     CROSS JOIN LATERAL public.budgets_window_at(b.window, b.timezone, at) AS f
     WHERE NOT EXISTS (SELECT 1 FROM public.budgets_budgetwindow AS w
                        WHERE w.budget_id = b.id AND w.subject = a.subject AND w.starts_at = f.starts_at AND w.ends_at = f.ends_at)
     ORDER BY b.id, a.subject
       FOR SHARE OF b
    ON CONFLICT DO NOTHING;

    SELECT array_agg(w.id) INTO windows
      FROM public.budgets_asked(wants) AS a JOIN public.budgets_budget AS b ON b.id = a.budget_id
     CROSS JOIN LATERAL public.budgets_window_at(b.window, b.timezone, at) AS f
      JOIN public.budgets_budgetwindow AS w
        ON w.budget_id = b.id AND w.subject = a.subject AND w.starts_at = f.starts_at AND w.ends_at = f.ends_at;
    PERFORM 1 FROM public.budgets_budgetwindow AS w WHERE w.id = ANY (windows) ORDER BY w.id FOR UPDATE;

    FOR item IN
        SELECT w.*, a.need, a.want, b.kind <> 'hard' AS soft, public.budgets_limit_at(b.id, at) AS now_limit
          FROM public.budgets_budgetwindow AS w
          JOIN public.budgets_budget AS b ON b.id = w.budget_id
          JOIN public.budgets_asked(wants) AS a ON a.budget_id = w.budget_id AND a.subject = w.subject
         WHERE w.id = ANY (windows)
         ORDER BY w.id
    LOOP
        -- An override began or ran out since: the limit is what it is now.
        IF item.now_limit <> item.limit_nano THEN
            UPDATE public.budgets_budgetwindow AS w
               SET limit_nano = item.now_limit, ceiling_nano = greatest(item.now_limit, w.spent_nano + w.leased_nano) WHERE w.id = item.id;
            item.limit_nano := item.now_limit;
        END IF;
        SELECT l.* INTO held FROM public.budgets_lease AS l
         WHERE l.window_id = item.id AND l.boot_id = lease_grant.boot AND l.state = 'open';
        SELECT count(*) INTO others FROM public.budgets_lease AS l
         WHERE l.window_id = item.id AND l.state = 'open' AND l.boot_id <> lease_grant.boot
           AND l.granted_nano > l.returned_nano + l.settled_nano;
        -- What only counts gives whatever is asked; its ceiling rises with it.
        remaining := greatest(0, CASE WHEN item.soft THEN 4611686018427387904::numeric ELSE item.limit_nano::numeric - item.overrun_nano END
                                 - item.spent_nano - item.leased_nano);
        -- At least the need; more only as a fair share, so that slices shrink near the limit.
        give := CASE WHEN item.need > remaining THEN 0
                     ELSE least(remaining, greatest(item.need, least(item.want, div(remaining, 4 * (others + 1)))),
                                9223372036854775807 - coalesce(held.granted_nano, 0)) END;
        IF give > 0 THEN
            UPDATE public.budgets_budgetwindow AS w
               SET leased_nano = w.leased_nano + give,
                   ceiling_nano = CASE WHEN item.soft THEN greatest(w.ceiling_nano, w.spent_nano + w.leased_nano + give)
                                       ELSE w.ceiling_nano END
             WHERE w.id = item.id;
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
        budget := item.budget_id::text || CASE WHEN item.subject = '' THEN '' ELSE '/' || item.subject END;
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

CREATE OR REPLACE FUNCTION public.budgets_lease_states(boot uuid, leases bigint[])
RETURNS TABLE (budget text, lease bigint, window_id bigint, generation int, granted bigint, returned bigint,
               starts_at_ms bigint, ends_at_ms bigint, limit_nano bigint, spent bigint, leased bigint)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT w.budget_id::text || CASE WHEN w.subject = '' THEN '' ELSE '/' || w.subject END, l.id, w.id, l.generation, l.granted_nano, l.returned_nano,
           (extract(epoch FROM w.starts_at) * 1000)::bigint, (extract(epoch FROM w.ends_at) * 1000)::bigint,
           w.limit_nano, least(w.spent_nano::numeric + w.overrun_nano, 9223372036854775807)::bigint, w.leased_nano
      FROM public.budgets_lease AS l JOIN public.budgets_budgetwindow AS w ON w.id = l.window_id
     WHERE l.boot_id = budgets_lease_states.boot AND l.state = 'open'
       AND CASE WHEN leases IS NULL THEN w.ends_at > clock_timestamp() OR l.granted_nano > l.returned_nano + l.settled_nano
                ELSE l.id = ANY (leases) END
     ORDER BY l.id
$$;

CREATE OR REPLACE FUNCTION public.budgets_limit_changed(budget uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT w.id, w.limit_nano AS was, w.spent_nano + w.leased_nano AS used, public.budgets_limit_at(b.id, clock_timestamp()) AS now
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

BEFORE = """
CREATE OR REPLACE FUNCTION public.budgets_window_at(kind text, zone text, at timestamptz, OUT starts_at timestamptz, OUT ends_at timestamptz)
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

CREATE OR REPLACE FUNCTION proxy_api.lease_grant(boot uuid, wants jsonb)
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

CREATE OR REPLACE FUNCTION public.budgets_lease_states(boot uuid, leases bigint[])
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

CREATE OR REPLACE FUNCTION public.budgets_limit_changed(budget uuid) RETURNS void
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

DROP FUNCTION public.budgets_asked(jsonb);
DROP FUNCTION public.budgets_limit_at(uuid, timestamptz);
"""

GRANTS = "".join(
    f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC;\n"
    for name in ("public.budgets_asked(jsonb)", "public.budgets_limit_at(uuid, timestamptz)")
)


class Migration(migrations.Migration):
    dependencies = [("budgets", "0004_scopes")]

    operations = [migrations.RunSQL(CREATE + GRANTS, BEFORE)]
