"""OAuth 2.0 access tokens: whose they are, by the keys of the authorization server."""
