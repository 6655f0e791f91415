"""`replay`: publishes answers of the ledger once more."""
