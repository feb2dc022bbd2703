"""Kept pictures: into the store, onto the record, and how they end."""
