-- The creation time of a passport. Read only, by primary key.
SELECT encode(id, 'hex'), round(extract(epoch FROM created_at) * 1000)::bigint AS created_ms
  FROM passport
 WHERE id = decode($1, 'hex')
