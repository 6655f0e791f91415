"""Keeps decisions and answers in one place: Postgres."""
