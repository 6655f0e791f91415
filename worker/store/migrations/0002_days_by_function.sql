-- Daily partitions for a role that may neither make nor drop tables: two functions with their owner's rights, which do
-- just this and check what they are asked. The caller holds the lock on days and has looked what is to be done.

CREATE FUNCTION make_day(parent text, day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    child text := parent || to_char(day, '"_"YYYYMMDD');
BEGIN
    IF (parent IN ('idempotency_key', 'ledger', 'dead_letter') AND day BETWEEN today - 1 AND today + 31) IS NOT TRUE THEN
        RAISE EXCEPTION 'Expected a table of days, and a day from yesterday to 31 days ahead, got % and %', parent, day;
    END IF;
    -- Made apart and then attached: attaching lets the batches of running workers go on, while CREATE TABLE ...
    -- PARTITION OF would wait for all of them and stop those that come after.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, day, day + 1);
END
$$;

-- Keys before the ledger before dead letters, as everybody locks them. Yesterday and the day before stay, whatever the
-- retention: batches that began before midnight write to the one, and keys of 24 hours stand in both.
CREATE FUNCTION drop_day(day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    child regclass;
BEGIN
    IF (day < (now() AT TIME ZONE 'UTC')::date - 2) IS NOT TRUE THEN
        RAISE EXCEPTION 'Expected a day that ended at least two days ago, got %', day;
    END IF;
    FOR child IN SELECT c.oid
                   FROM unnest(ARRAY['idempotency_key', 'ledger', 'dead_letter']) WITH ORDINALITY AS parents (parent, place)
                   JOIN pg_inherits i ON i.inhparent = parent::regclass
                   JOIN pg_class c ON c.oid = i.inhrelid
                  WHERE right(c.relname, 8) = to_char(day, 'YYYYMMDD')
                  ORDER BY place
    LOOP
        EXECUTE format('DROP TABLE %s', child);
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION make_day(text, date), drop_day(date) FROM PUBLIC;

-- Names are looked up in the catalog, which comes first unnamed, then where the tables are, and last among the caller's
-- temporary tables; new tables go where the others are.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION make_day(text, date) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION drop_day(date) SET search_path = %I, pg_temp', current_schema());
END
$$;
