"""Bodies on their way through: kept in bounded memory or in files, given back byte for byte."""
