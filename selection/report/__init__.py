"""What came out of a study, as text and JSON."""
