-- The reasons why planned rows cannot be restored, by code and lane, with the first places of each. Read only.
WITH refused AS (
    SELECT 'passport-exists' AS code, r.lane_number, r."offset", r.id AS detail
      FROM planned_passport r JOIN passport p ON p.id = decode(r.id, 'hex')
     UNION ALL
    SELECT 'serial-taken', r.lane_number, r."offset", encode(p.id, 'hex')
      FROM planned_passport r
      JOIN company c ON c.id = r.company_id
      JOIN passport p ON p.company_number = c.number AND p.gtin = r.gtin AND p.serial = r.serial
                     AND p.id <> decode(r.id, 'hex')
     UNION ALL
    SELECT 'serial-taken', lane_number, "offset", id
      FROM (SELECT *, count(*) OVER (PARTITION BY gtin, serial) AS times FROM planned_passport) AS counted
     WHERE times > 1
     UNION ALL
    SELECT 'gtin-taken', r.lane_number, r."offset", r.gtin
      FROM planned_passport r JOIN gtin_registration g ON g.gtin = r.gtin AND g.company_id <> r.company_id
     UNION ALL
    SELECT 'gtin-taken', r.lane_number, r."offset", r.gtin
      FROM planned_passport r
      JOIN (SELECT gtin FROM planned_passport GROUP BY gtin HAVING count(DISTINCT company_id) > 1) AS shared USING (gtin)
     UNION ALL
    SELECT 'company-unknown', r.lane_number, r."offset", r.company_id
      FROM planned_company r
     WHERE NOT EXISTS (SELECT FROM company c JOIN company_usage u ON u.company_number = c.number WHERE c.id = r.company_id)
     UNION ALL
    SELECT 'original-missing', r.lane_number, r."offset", r.id
      FROM planned_replay r
     WHERE NOT EXISTS (SELECT FROM planned_passport o WHERE o.id = r.id AND o.digest = r.digest)
       AND NOT EXISTS (SELECT FROM passport p WHERE p.id = decode(r.id, 'hex') AND sha256(p.created_body) = r.digest)
)
SELECT code, lane_number, "offset", detail, total
  FROM (SELECT *, count(*) OVER (PARTITION BY code, lane_number) AS total,
               row_number() OVER (PARTITION BY code, lane_number ORDER BY "offset") AS place
          FROM refused) AS counted
 WHERE place <= $1
 ORDER BY lane_number, code, "offset"
