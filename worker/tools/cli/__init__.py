"""The frame of the command line: the list of verbs, options, output, progress and exit codes."""
