-- After the loss of a Kafka cluster: commands that are decided, and whose results nobody may have read. Read only.
--   psql "$PASSPORT_DATABASE_URL" --csv -v topic=dpp.passport.create.v1 -f deploy/scripts/decided-not-visible.sql
-- Results of the first commands at `emitted` and behind it may or may not have become visible. With -v since='2026-11-30
-- 12:00Z', also commands appended then or later: for a cluster that lost what it had acknowledged.
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
