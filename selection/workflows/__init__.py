"""One file per use case, from the sweep to the evaluation; nothing here prints."""
