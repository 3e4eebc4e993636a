"""All of torch: many MLPs trained as one packed program."""
