-- Records how far an operation has got.
UPDATE operation SET progress = $2 WHERE id = $1
