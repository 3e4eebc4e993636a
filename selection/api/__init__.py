"""What every door calls: run a study, open one, list them; a Study answers for itself."""
