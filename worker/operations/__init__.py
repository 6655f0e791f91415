"""The operators' verbs: each asks both servers and says what it found in one report; it changes only when told to."""
