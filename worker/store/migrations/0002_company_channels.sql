-- readable from: 0002, since an older worker would answer a company on channels that it may not use
-- locks: ACCESS EXCLUSIVE on company
-- takes: 0.0 s per million rows of company
--
-- A company may be bound to channels: its commands on other channels are refused. NULL: it may use all of them.
-- '' is the default channel.
ALTER TABLE company ADD COLUMN channels text[];
