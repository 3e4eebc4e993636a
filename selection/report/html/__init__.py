"""Results as HTML: the pages of the server and the report file."""
