"""Tests, in packages that mirror those of selection, and what several of them share."""
