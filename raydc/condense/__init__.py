"""The mathematics of condensation: torch only, no Ray, no disk, no YAML.

Usable in a notebook: build a :class:`~raydc.condense.synthesize.Synthesis` from a network, a start and labels, and
step it.
"""
