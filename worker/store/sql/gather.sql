-- What a turn reads under the locks of its lanes and companies, in one row of columns. Read only.
-- `LIMIT 1` makes Postgres look each row up: a plan that was made while a table was empty would join all of its rows.
SELECT *, (SELECT version FROM catalogue_version) AS catalogue_version
  FROM (SELECT array_agg(id), array_agg(epoch), array_agg(holder), array_agg(applied)
          FROM lane
         WHERE id = ANY ($1::int[])) AS lanes (lane_ids, epochs, holders, applied),
       (SELECT array_agg(company_number), array_agg(slots_used)
          FROM company_usage
         WHERE company_number = ANY ($2::int[])) AS usage (companies, slots_used),
       -- Passports created by company and UTC day (days since the epoch).
       (SELECT array_agg(asked.company_number), array_agg(asked.utc_day), array_agg(w.writes)
          FROM unnest($3::int[], $4::int[]) AS asked (company_number, utc_day),
               LATERAL (SELECT writes
                          FROM daily_writes
                         WHERE company_number = asked.company_number AND day = date '1970-01-01' + asked.utc_day
                         LIMIT 1) AS w) AS days (day_companies, days, writes),
       -- A committed registration never changes.
       (SELECT array_agg(gtin), array_agg(company_id)
          FROM gtin_registration
         WHERE gtin = ANY (string_to_array($5, E'\x1f'))) AS owners (gtins, owners),
       (SELECT array_agg(asked.gtin), array_agg(asked.serial), array_agg(encode(p.id, 'hex'))
          FROM unnest($6::int[], string_to_array($7, E'\x1f'), string_to_array($8, E'\x1f'))
                 AS asked (company_number, gtin, serial),
               LATERAL (SELECT id
                          FROM passport
                         WHERE company_number = asked.company_number AND gtin = asked.gtin AND serial = asked.serial
                         LIMIT 1) AS p) AS taken (taken_gtins, taken_serials, passport_ids),
       -- Idempotency keys that may be bound: `bindings.sql` reads what they are bound to. Days before $10 (since the
       -- epoch) are skipped. Yesterday never is: clocks that are days ahead put their keys there, or into tomorrow.
       (SELECT array_agg(id)
          FROM idempotency_key
         WHERE id = ANY (ARRAY(SELECT substr($9::bytea, at, 16) FROM generate_series(1, length($9::bytea), 16) AS at))
           AND day >= least(date '1970-01-01' + $10::int, (now() AT TIME ZONE 'UTC')::date - 1)) AS bound (bound_keys)
