-- When a passport was created. Read only, by primary key.
SELECT id, round(extract(epoch FROM created_at) * 1000)::bigint AS created_ms FROM passport WHERE id = $1
