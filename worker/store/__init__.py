"""What was decided and what was answered, kept in one place: Postgres, or memory for tests."""
