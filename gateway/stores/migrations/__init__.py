"""The schema's history: one file per revision under ``versions``, applied in order, never edited once released."""
