"""`replay`: publishes answers of the ledger again."""
