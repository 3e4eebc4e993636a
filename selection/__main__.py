"""Lets `python -m selection` do what `selection` does."""

from selection.cli.start import main

if __name__ == "__main__":
    main()
