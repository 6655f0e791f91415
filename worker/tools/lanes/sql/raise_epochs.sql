-- Take every lane of a group on a topic out of the hands of its worker; its generation stays, so that members of the group
-- may have it again. Safe: whoever holds a lower epoch finds out when it locks its lanes.
UPDATE lane
   SET epoch = epoch + 1
 WHERE id IN (SELECT id FROM lane WHERE group_id = $1 AND topic = $2 ORDER BY id FOR UPDATE)
RETURNING partition, id, epoch, producers, holder
