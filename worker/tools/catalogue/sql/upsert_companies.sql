-- Writes the companies of a catalogue file; others stay. Only a new company takes a number. Safe under the lock on
-- loads: counters are in another table. A file that does not mention signatures ($7), or the closing of the company
-- ($10), leaves that time as it is.
WITH row AS (
    SELECT id, name, plan_id, subscription, prefill, signatures_required_from, closed_at,
           CASE WHEN channels IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(channels::json)) END AS channels
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $8::text[],
                  $9::timestamptz[])
        AS given (id, name, plan_id, subscription, prefill, signatures_required_from, channels, closed_at)
), known AS (
    UPDATE company
       SET name = row.name, plan_id = row.plan_id, subscription = row.subscription, prefill = row.prefill::json,
           channels = row.channels,
           signatures_required_from = CASE WHEN company.id = ANY ($7::text[]) THEN company.signatures_required_from
                                           ELSE row.signatures_required_from END,
           closed_at = CASE WHEN company.id = ANY ($10::text[]) THEN company.closed_at ELSE row.closed_at END
      FROM row
     WHERE company.id = row.id
)
INSERT INTO company (id, name, plan_id, subscription, prefill, signatures_required_from, channels, closed_at)
SELECT id, name, plan_id, subscription, prefill::json, signatures_required_from, channels, closed_at
  FROM row
 WHERE NOT EXISTS (SELECT FROM company WHERE company.id = row.id)
 ORDER BY id
