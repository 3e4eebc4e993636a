"""Where rows come from, how they are split and prepared; the sweep sees development rows only."""
