"""The catalogue file: plans, companies, API keys, templates and products as operators write them."""
