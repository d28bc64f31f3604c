"""``python -m raydc``."""

from raydc.cli import main

main()
