-- All effects of a batch at once: passports and what follows from them, ledger rows, and the lanes' new positions.
-- Safe: runs under the locks that the facts were read under. If a constraint fires nevertheless, everything rolls back.
-- Texts come joined by U+001F, integers by commas, and ids, hashes and kinds without a separator:
-- `worker/store/columns.py` says why.
WITH made AS (
    SELECT *, timestamptz 'epoch' + (created_ms / 1000) * interval '1 second'
              + (created_ms % 1000) * interval '1 millisecond' AS created_at,  -- in one, far years are not exact
           substr($1::bytea, 12 * at::int - 11, 12) AS id, substr($6::bytea, 16 * at::int - 15, 16) AS frame_id,
           nullif(substr($9::bytea, 16 * at::int - 15, 16), decode(repeat('00', 16), 'hex')) AS key_id,
           substr($10::bytea, 32 * at::int - 31, 32) AS fingerprint
      FROM unnest(string_to_array($2, ',')::int[], string_to_array($3, E'\x1f'), string_to_array($4, E'\x1f'),
                  string_to_array($5, ',')::bigint[], string_to_array($7, E'\x1f', ''),
                  string_to_array($8, E'\x1f', ''), $11::int[])
           WITH ORDINALITY
        AS made (company_number, gtin, serial, created_ms, gs1, rest, price_cents, at)
), frames AS (
    -- Frames that this session has not seen. Another session may write the same frame, but an id has only one text.
    INSERT INTO passport_frame (id, product_id, template_id, text)
    SELECT * FROM unnest($26::bytea[], $27::text[], $28::text[], $29::text[])
        ON CONFLICT DO NOTHING
), passports AS (
    INSERT INTO passport (created_at, id, company_number, gtin, serial, frame_id, gs1, rest)
    SELECT created_at, id, company_number, gtin, serial, frame_id, gs1, rest FROM made
), charges AS (
    INSERT INTO overage_charge (passport_id, company_number, price_cents, charged_at)
    SELECT id, company_number, price_cents, created_at FROM made WHERE price_cents IS NOT NULL
), keys AS (
    -- A backlog of more than 24 hours can bind a key twice in one batch, or in one day. Lanes may be at different times,
    -- so compare: the later one stays. A clock that is days ahead has no partition for its day, so it uses tomorrow's.
    INSERT INTO idempotency_key (id, day, fingerprint, passport_id, created_at, company_number)
    SELECT DISTINCT ON (key_id)
           key_id, least(greatest((created_at AT TIME ZONE 'UTC')::date, today), today + 1), fingerprint, id, created_at,
           company_number
      FROM made, (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock
     WHERE key_id IS NOT NULL
     ORDER BY key_id, at DESC
        ON CONFLICT (id, day, company_number) DO UPDATE
       SET fingerprint = excluded.fingerprint, passport_id = excluded.passport_id, created_at = excluded.created_at
     WHERE idempotency_key.created_at <= excluded.created_at
), slots AS (
    -- Looks rows up one by one: a join would read the whole table, or compare every two companies of the turn.
    UPDATE company_usage u
       SET slots_used = u.slots_used + taken.passports
      FROM (SELECT company_number, count(*) AS passports FROM made GROUP BY company_number) AS taken,
           LATERAL (SELECT ctid FROM company_usage WHERE company_number = taken.company_number LIMIT 1) AS locked
     WHERE u.ctid = locked.ctid
), days AS (
    INSERT INTO daily_writes AS w (company_number, day, writes)
    SELECT company_number, (created_at AT TIME ZONE 'UTC')::date, count(*) FROM made GROUP BY 1, 2
        ON CONFLICT (company_number, day) DO UPDATE
       SET writes = w.writes + excluded.writes, recorded_on = excluded.recorded_on
), rows AS (
    INSERT INTO ledger (lane_id, "offset", appended_at, kind, replayed, key, company_id, passport_id,
                        traceparent, tracestate, value)
    SELECT a.lane_id, a."offset",
           timestamptz 'epoch' + (a.appended_ms / 1000) * interval '1 second'
           + (a.appended_ms % 1000) * interval '1 millisecond', get_byte($15::bytea, a.at::int - 1),
           coalesce(a.replayed, false), a.key,
           a.company_id, decode(a.passport_id, 'hex'), a.traceparent, a.tracestate, a.value
      FROM unnest(string_to_array($12, ',')::int[], string_to_array($13, ',')::bigint[],
                  string_to_array($14, ',')::bigint[], $16::boolean[], string_to_array($17, E'\x1f'),
                  string_to_array($18, E'\x1f', ''), string_to_array($19, E'\x1f', ''),
                  $20::bytea[], $21::bytea[], $22::bytea[])
           WITH ORDINALITY
        AS a (lane_id, "offset", appended_ms, replayed, key, company_id, passport_id, traceparent, tracestate, value,
              at)
)
UPDATE lane l
   SET applied = moved.applied, emitted = greatest(l.emitted, moved.emitted)
  FROM unnest($23::int[], $24::bigint[], $25::bigint[]) AS moved (id, applied, emitted)
 WHERE l.id = moved.id AND l.applied <= moved.applied  -- the caller compares how many rows moved
