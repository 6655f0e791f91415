-- One daily partition. Made apart and then attached: attaching lets the batches of running workers go on, while
-- CREATE TABLE ... PARTITION OF would wait for all of them and stop those that come after. Keys before the ledger before
-- dead letters, as everybody locks them.
CREATE TABLE {parent}_{day:%Y%m%d} (LIKE {parent} INCLUDING ALL);
ALTER TABLE {parent} ATTACH PARTITION {parent}_{day:%Y%m%d} FOR VALUES FROM ('{day}') TO ('{next_day}')
