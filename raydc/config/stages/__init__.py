"""The sections of a run, one file a stage."""
