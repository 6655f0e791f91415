-- The key set of an authorization server as a worker read it last, so that a worker can start while that server is away. It
-- holds public keys only. A set belongs to the issuer and the address that it was read for; `location` has neither the
-- credentials nor the query of a URL.

CREATE TABLE oauth_key_set (
    issuer   text NOT NULL,
    location text NOT NULL,
    keys     json NOT NULL,
    read_at  timestamptz NOT NULL,
    PRIMARY KEY (issuer, location)
);
