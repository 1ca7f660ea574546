"""Training: recipes as plain data, the optimization they describe, the loop, and the whole state of a run."""
