"""Bytes, names and digests: files, shards, manifests and atomic commits. Knows nothing of models."""
