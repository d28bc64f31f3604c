"""A few steps of everything that a run does, measured as the run would do it."""
