-- The companies of registered GTINs. Read only; a committed registration never changes.
SELECT gtin, company_id FROM gtin_registration WHERE gtin = ANY ($1::text[])
