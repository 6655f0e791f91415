-- The created events of a product are the same but for a few values, and most of a passport's row was that text, again and
-- again. It is kept once, as a frame with a hole for each value that is a passport's own; `created_body(passport)` fills it,
-- and `p.created_body` reads like the column that was there. Holes are control characters, which JSON text cannot hold:
--   1 id, 2 GTIN, 3 serial number, 4 time of creation, 5 `gs1` behind the GTIN, 6 `rest`, between fields and time.
-- Frame and passport name each other by a hash, so that what a row says never depends on when its frame was written. No
-- foreign key: its check would cost more than the row. Frames are never changed and never deleted.

CREATE TABLE passport_frame (
    id          bytea PRIMARY KEY CHECK (length(id) = 16),  -- the first 16 bytes of SHA-256 of the text
    product_id  text NOT NULL,
    template_id text NOT NULL,
    text        text NOT NULL
);

ALTER TABLE passport RENAME TO passport_whole;
ALTER TABLE passport_whole RENAME CONSTRAINT passport_id_key TO passport_whole_id_key;
ALTER TABLE passport_whole RENAME CONSTRAINT passport_gtin_serial_key TO passport_whole_gtin_serial_key;

-- `gs1`: what stands behind the GTIN up to the end of that object, where the serial number is not the same in JSON and in a
-- URI. `rest`: parties and overage, where there are any.
CREATE TABLE passport (
    created_at timestamptz NOT NULL,
    id         text CONSTRAINT passport_id_key PRIMARY KEY,
    company_id text NOT NULL,
    gtin       text NOT NULL,
    serial     text NOT NULL CHECK (length(serial) BETWEEN 1 AND 100),
    frame_id   bytea NOT NULL,
    gs1        text,
    rest       text,
    CONSTRAINT passport_gtin_serial_key UNIQUE (gtin, serial)
);

DO $migration$
DECLARE
    granted record;
BEGIN
    EXECUTE replace($function$
CREATE FUNCTION created_body(p HOME.passport) RETURNS bytea
    LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
SELECT convert_to(
           replace(replace(replace(replace(replace(replace(f.text,
               chr(1), p.id), chr(2), p.gtin), chr(3), p.serial),
               chr(4), to_char(date_trunc('milliseconds', p.created_at + interval '500 microseconds') AT TIME ZONE 'UTC',
                               'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
               chr(5), coalesce(p.gs1, '')), chr(6), coalesce(p.rest, '')), 'UTF8')
  FROM HOME.passport_frame f
 WHERE f.id = p.frame_id
$$
    $function$, 'HOME', quote_ident(current_schema()));

    -- Whoever may read and write passports may read and write their frames.
    FOR granted IN SELECT a.privilege_type AS privilege, r.rolname AS role, n.name
                     FROM pg_class c, aclexplode(c.relacl) a
                     JOIN pg_roles r ON r.oid = a.grantee,
                          unnest(ARRAY['passport', 'passport_frame']) AS n (name)
                    WHERE c.oid = 'passport_whole'::regclass AND a.grantee <> c.relowner
                      AND (n.name = 'passport' OR a.privilege_type IN ('SELECT', 'INSERT'))
    LOOP
        EXECUTE format('GRANT %s ON %I TO %I', granted.privilege, granted.name, granted.role);
    END LOOP;
END
$migration$;

-- Of each passport what its row and its frame are to say.
CREATE TEMP VIEW taken_apart AS
SELECT *, substr(sha256(convert_to(text, 'UTF8')), 1, 16) AS frame_id
  FROM (SELECT *, '{"_id":"' || chr(1) || substr(body, 33, behind_gtin - 47) || chr(2)
                  || CASE WHEN is_plain
                          THEN replace(replace(gs1, '":"' || serial || '"', '":"' || chr(3) || '"'),
                                       '/01/' || gtin || '/21/' || serial || '"',
                                       '/01/' || chr(2) || '/21/' || chr(3) || '"')
                          ELSE chr(5) END
                  || substr(body, behind_gs1, behind_fields - behind_gs1 + 1) || chr(6)
                  || '"createdAt":"' || chr(4) || '"}' AS text,
               substr(body, behind_fields + 1, length(body) - behind_fields - 39) AS rest
          FROM (SELECT *, substr(body, behind_gtin, behind_gs1 - behind_gtin) AS gs1
                  FROM (SELECT *, position('"gs1":{"gtin":"' IN body) + 29 AS behind_gtin,
                               position('},"status":' IN body) AS behind_gs1,
                               position('"fields":' IN body) + 9 + length((body::json -> 'fields')::text) AS behind_fields,
                               serial COLLATE "C" ~ '^[0-9A-Za-z._~-]+$' AS is_plain
                          FROM (SELECT *, convert_from(created_body, 'UTF8') AS body FROM passport_whole) AS whole
                       ) AS cut
               ) AS of_gs1
       ) AS framed;

INSERT INTO passport_frame (id, product_id, template_id, text)
SELECT frame_id, product_id, template_id, text FROM taken_apart
    ON CONFLICT DO NOTHING;

INSERT INTO passport (created_at, id, company_id, gtin, serial, frame_id, gs1, rest)
SELECT created_at, id, company_id, gtin, serial, frame_id, CASE WHEN NOT is_plain THEN gs1 END, nullif(rest, '')
  FROM taken_apart;

DROP VIEW taken_apart;

DO $check$
DECLARE
    differs text;
BEGIN
    SELECT id INTO differs
      FROM passport_whole w LEFT JOIN passport p USING (id)
     WHERE p.created_body IS DISTINCT FROM w.created_body
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The created event of passport % cannot be kept as a frame', differs;
    END IF;
END
$check$;

DROP TABLE passport_whole;
