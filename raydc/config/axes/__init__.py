"""The axes of the design space: one frozen record for each component that a YAML file can name with ``use:``.

Each record holds the component's settings and nothing else; the code that gives it meaning lives in a file of the
same name under ``condense/`` (or ``sources/``, ``labels/``, ``students/``). Sources of the defaults are in that file's
card.
"""
