-- Take back claims that no passport came of: only a created passport registers a GTIN. Our own rows, as above.
DELETE FROM gtin_registration WHERE gtin = ANY ($1::text[])
