-- After the loss of a Kafka cluster: decided commands whose results perhaps nobody has read. Changes nothing.
--   psql "$PASSPORT_DATABASE_URL" --csv -v topic=dpp.passport.create.v1 -f deploy/scripts/decided-not-visible.sql
-- The first results from `emitted` on may have become visible. If the cluster lost acknowledged records, add
-- -v since='2026-11-30 12:00Z', which also lists commands appended then or later.
\if :{?since}
\else
\set since infinity
\endif
SELECT lane.topic, lane.partition, ledger."offset", ledger.appended_at, ledger.company_id, ledger.key,
       (ARRAY ['created', 'overage-required', 'conflict', 'rejected'])[kind] AS result, encode(passport_id, 'hex') AS passport
  FROM lane
  JOIN ledger ON ledger.lane_id = lane.id
             AND (ledger."offset" >= lane.emitted OR ledger.appended_at >= :'since')
 WHERE lane.topic = :'topic'
 ORDER BY ledger.appended_at, lane.partition, ledger."offset";
