"""Real servers that tests start themselves and end by their process ids. Nothing here is a fake."""
