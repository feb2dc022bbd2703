"""Requests that outlive their clients: under way, landed, on file, and who finds them again."""
