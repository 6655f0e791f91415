-- Groups under which lanes of a topic ($2) have answered commands, if none has run under group $1. Read only.
SELECT DISTINCT group_id
  FROM lane
 WHERE topic = $2 AND applied > 0
   AND NOT EXISTS (SELECT FROM lane AS ours WHERE ours.group_id = $1 AND ours.topic = $2 AND ours.applied IS NOT NULL)
 ORDER BY group_id
