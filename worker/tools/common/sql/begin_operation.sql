-- Writes down what an operator is about to do. Safe: a row of its own.
INSERT INTO operation (id, verb, who, reason, arguments) VALUES ($1, $2, $3, $4, $5)
