"""Results as plotly figures."""
