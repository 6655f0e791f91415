-- readable from: 0004
-- locks: SHARE ROW EXCLUSIVE on plan, SHARE ROW EXCLUSIVE on company, SHARE ROW EXCLUSIVE on api_key, SHARE ROW EXCLUSIVE on signing_key, SHARE ROW EXCLUSIVE on template, SHARE ROW EXCLUSIVE on product
-- takes: 0.0 s
--
-- Workers remember keys, companies and products. Each statement that writes one of these tables gives the catalogue a new
-- version, which a turn reads under its locks: it is decided anew where the version is another one than at its look-ups.
-- A version is random, so that it never comes again, not even in a database that was restored.
CREATE TABLE catalogue_version (
    version uuid NOT NULL DEFAULT gen_random_uuid()
);

INSERT INTO catalogue_version DEFAULT VALUES;

DO $migration$
BEGIN
    EXECUTE replace($function$
CREATE FUNCTION renew_catalogue_version() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE HOME.catalogue_version SET version = DEFAULT;
    RETURN NULL;
END
$$
    $function$, 'HOME', quote_ident(current_schema()));
END
$migration$;

CREATE TRIGGER renew_catalogue_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON plan
    FOR EACH STATEMENT EXECUTE FUNCTION renew_catalogue_version();
CREATE TRIGGER renew_catalogue_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON company
    FOR EACH STATEMENT EXECUTE FUNCTION renew_catalogue_version();
CREATE TRIGGER renew_catalogue_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON api_key
    FOR EACH STATEMENT EXECUTE FUNCTION renew_catalogue_version();
CREATE TRIGGER renew_catalogue_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON signing_key
    FOR EACH STATEMENT EXECUTE FUNCTION renew_catalogue_version();
CREATE TRIGGER renew_catalogue_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON template
    FOR EACH STATEMENT EXECUTE FUNCTION renew_catalogue_version();
CREATE TRIGGER renew_catalogue_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON product
    FOR EACH STATEMENT EXECUTE FUNCTION renew_catalogue_version();
