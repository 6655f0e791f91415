-- Signed commands: public keys of companies, and from when on a company's commands have to be signed.

-- The id is the key's SHA-256 thumbprint (RFC 7638). A row never changes its key, nor its company.

CREATE TABLE signing_key (
    kid        text PRIMARY KEY CHECK (kid ~ '^[A-Za-z0-9_-]{43}$'),
    company_id text NOT NULL REFERENCES company,
    jwk        json NOT NULL,
    label      text NOT NULL,
    not_before timestamptz,
    revoked_at timestamptz
);

ALTER TABLE company ADD COLUMN signatures_required_from timestamptz;
