"""How results are printed: Go templates, tables, JSON."""
