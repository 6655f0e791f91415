-- Notes that the group's offset of a lane was set back, so that results come again. `audit` reads it. Safe: a row of
-- its own.
INSERT INTO operation (id, verb, ended_at, outcome, who, reason, arguments)
VALUES (gen_random_uuid(), 'offsets-set-back', now(), 'done', $4, 'the group''s offset was set back',
        jsonb_build_object('topic', $1::text, 'repeats', jsonb_build_array(jsonb_build_array($2::int, $3::bigint, $5::bigint))))
