"""View records and label codecs: NumPy only."""
