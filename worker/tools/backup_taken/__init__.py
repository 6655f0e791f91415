"""`backup-taken`: a backup job tells when its backup was taken, for `doctor` and an alert."""
