"""The operators' verbs against a real broker and a real database, as somebody types them."""
