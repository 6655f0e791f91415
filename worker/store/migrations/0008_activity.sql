-- What workers did, minute by minute: for people who look. A worker overwrites its row of a minute every few seconds, outside
-- of its turns; rows are deleted after a day. `counts` is {"outcomes": {code: n}, "refusals": [[company, code, n]]}.

CREATE TABLE activity (
    minute   timestamptz NOT NULL,
    group_id text NOT NULL,
    member   text NOT NULL,
    counts   jsonb NOT NULL,
    PRIMARY KEY (minute, group_id, member)
);
