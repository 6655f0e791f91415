-- A company may be bound to channels: its commands on other channels are refused. NULL: it may use all of them.
-- '' is the default channel.
ALTER TABLE company ADD COLUMN channels text[];
