-- Takes back claims without a passport: only a created passport registers a GTIN. Safe: the rows are this transaction's
-- own.
DELETE FROM gtin_registration WHERE gtin = ANY ($1::text[])
