"""Frozen networks: their architecture, weights, normalisation and training."""
