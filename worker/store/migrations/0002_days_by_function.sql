-- Daily partitions for a role that may neither make nor drop tables: two functions with their owner's rights, which do
-- just this and check what they are asked. The caller holds the lock on days and has looked what is to be done.
-- Functions and operators are those of the catalog, whatever others have put beside the tables, and tables are named with
-- their schema, which stands in for HOME.

DO $migration$
BEGIN
    EXECUTE replace($function$
CREATE FUNCTION make_day(parent text, day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    child text := parent || to_char(day, '"_"YYYYMMDD');
BEGIN
    IF (parent IN ('idempotency_key', 'ledger', 'dead_letter') AND day BETWEEN today - 1 AND today + 31) IS NOT TRUE THEN
        RAISE EXCEPTION 'Expected a table of days, and a day from yesterday to 31 days ahead, got % and %', parent, day;
    END IF;
    -- Made apart and then attached: attaching lets the batches of running workers go on, while CREATE TABLE ...
    -- PARTITION OF would wait for all of them and stop those that come after.
    EXECUTE format('CREATE TABLE HOME.%I (LIKE HOME.%I INCLUDING ALL)', child, parent);
    EXECUTE format('ALTER TABLE HOME.%I ATTACH PARTITION HOME.%I FOR VALUES FROM (%L) TO (%L)',
                   parent, child, day, day + 1);
END
$$
    $function$, 'HOME', quote_ident(current_schema()));

    -- Returns the names of what it dropped. Keys before the ledger before dead letters, as everybody locks them. Yesterday and the day before stay, whatever the
    -- retention: batches that began before midnight write to the one, and keys of 24 hours stand in both.
    EXECUTE replace($function$
CREATE FUNCTION drop_day(day date) RETURNS SETOF text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    child record;
BEGIN
    IF (day < (now() AT TIME ZONE 'UTC')::date - 2) IS NOT TRUE THEN
        RAISE EXCEPTION 'Expected a day that ended at least two days ago, got %', day;
    END IF;
    -- The ledger of a lane starts behind the newest row of the day that is about to go. Under the lanes' locks, never
    -- lowers anything, and commits with the drop, so that nobody takes the missing rows for a gap in the offsets.
    PERFORM FROM HOME.lane ORDER BY id FOR UPDATE;
    UPDATE HOME.lane
       SET ledger_from = dropped.newest + 1
      FROM (SELECT id, (SELECT max(l."offset") FROM HOME.ledger l WHERE l.lane_id = lane.id AND l.recorded_on = day)
                       AS newest
              FROM HOME.lane) AS dropped
     WHERE dropped.id = lane.id AND lane.ledger_from <= dropped.newest;
    FOR child IN SELECT c.oid::regclass AS place, c.relname AS name
                   FROM unnest(ARRAY['HOME.idempotency_key', 'HOME.ledger', 'HOME.dead_letter']::regclass[])
                        WITH ORDINALITY AS parents (parent, rank)
                   JOIN pg_inherits i ON i.inhparent = parent
                   JOIN pg_class c ON c.oid = i.inhrelid
                  WHERE right(c.relname::text, 8) = to_char(day, 'YYYYMMDD')
                  ORDER BY rank
    LOOP
        EXECUTE format('DROP TABLE %s', child.place);
        RETURN NEXT child.name;
    END LOOP;
END
$$
    $function$, 'HOME', quote_ident(current_schema()));
END
$migration$;

REVOKE ALL ON FUNCTION make_day(text, date), drop_day(date) FROM PUBLIC;
