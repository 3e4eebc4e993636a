"""Pure arithmetic on arrays: who wins and how sure; no torch, no SQL, no files."""
