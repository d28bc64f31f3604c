"""Where images come from: real data sets, and condensed ones."""
