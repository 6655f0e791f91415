"""`backup-taken`: notes when a backup was taken, for `doctor` and an alert."""
