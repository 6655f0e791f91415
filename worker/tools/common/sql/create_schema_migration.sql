-- The record of applied migrations. Safe: runs under the migration lock, and does nothing if the table exists.
-- Workers of an older version read it, too: it may gain columns, and lose none.
CREATE TABLE IF NOT EXISTS schema_migration (
    version       integer PRIMARY KEY,
    name          text NOT NULL,
    sha256        bytea NOT NULL,
    readable_from integer NOT NULL,  -- the oldest schema whose workers can run on the schema of this migration
    applied_by    text NOT NULL,  -- the version of the worker that applied it
    applied_at    timestamptz NOT NULL DEFAULT now()
)
