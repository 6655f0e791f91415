-- Takes every lane of a group on a topic away from its worker. The generation stays, so that members of the group can
-- have it again. Safe: a worker with a lower epoch notices when it locks its lanes.
UPDATE lane
   SET epoch = epoch + 1
 WHERE id IN (SELECT id FROM lane WHERE group_id = $1 AND topic = $2 ORDER BY id FOR UPDATE)
RETURNING partition, id, epoch, producers, holder
