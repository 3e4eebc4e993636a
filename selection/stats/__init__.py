"""Pure arithmetic on arrays: which trial wins, and how certain that is. No torch, SQL or files."""
