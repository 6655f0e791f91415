-- First lock of a batch: its lanes in the order of ids. The batch sees here whether another worker has raised an epoch.
-- From here on other workers have to wait for the commit.
SELECT id, epoch, holder, applied
  FROM lane
 WHERE id = ANY ($1::int[])
 ORDER BY id
   FOR UPDATE
