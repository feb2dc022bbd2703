"""Adapters behind the ports: the only code that speaks SQL or writes log lines. They never import each other."""
