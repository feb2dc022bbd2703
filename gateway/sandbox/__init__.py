"""An upstream inside the process, for a gateway without an account."""
