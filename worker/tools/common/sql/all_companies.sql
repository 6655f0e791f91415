-- Ids and names of all companies. Read only; reads the table, which has one row per company.
SELECT id, name FROM company ORDER BY name, id
