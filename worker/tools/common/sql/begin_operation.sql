-- Records what an operator is about to do. Safe: adds a row.
INSERT INTO operation (id, verb, who, reason, arguments) VALUES ($1, $2, $3, $4, $5)
