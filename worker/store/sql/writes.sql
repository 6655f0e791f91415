-- Passports created by company and UTC day (days since the epoch). Read only, under the companies' locks.
SELECT w.company_number, w.day - date '1970-01-01' AS utc_day, w.writes
  FROM unnest($1::int[], $2::int[]) AS asked (company_number, utc_day)
  JOIN daily_writes w ON w.company_number = asked.company_number AND w.day = date '1970-01-01' + asked.utc_day
