-- Texts that passports share. Read only; they never change.
SELECT id, text FROM passport_frame WHERE id = ANY ($1::bytea[])
