"""One file per upstream API, pure: what goes on the wire, and what came back."""
