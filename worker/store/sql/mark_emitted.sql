-- Raise the lower bound of the emission position. Safe: never lowers it, never passes what was applied.
UPDATE lane SET emitted = $3 WHERE id = $1 AND epoch = $2 AND emitted < $3 AND applied >= $3
