-- The transactional id that registered a lane last. A right to write names it beside the epoch: after lost commits a lane
-- counts its epochs on from an older value, so that an epoch can come again, while an id of a producer never does.

ALTER TABLE lane ADD COLUMN holder text NOT NULL GENERATED ALWAYS AS (coalesce(producers[cardinality(producers)], '')) STORED;
