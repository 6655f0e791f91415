-- The version of the catalogue, which each change of it renews. Read only.
SELECT version FROM catalogue_version
