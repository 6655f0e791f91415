"""`quota show`: plans, and how much of them companies have used."""
