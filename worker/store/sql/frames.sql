-- Texts of frames by their ids. Read only; a frame never changes.
SELECT id, text FROM passport_frame WHERE id = ANY ($1::bytea[])
