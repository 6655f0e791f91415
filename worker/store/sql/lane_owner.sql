-- Who holds a lane, for the one who was turned away. Read only.
SELECT generation, member FROM lane WHERE group_id = $1 AND topic = $2 AND partition = $3
