"""The console: what operators' verbs report, as pages that only look."""
