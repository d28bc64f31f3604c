"""What a worker that packs may do wrong; in a file of its own, because Ray's workers import it by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from raydc.engine.pack import pack_shard


def unlucky(shared: Any, number: int, first_key: int, rows: np.ndarray) -> None:
    """Packs shards at the second try; if the run's seed is odd, the third never and others at once."""
    run, seen = shared[0], f"{number}"
    if number == 2 if run.config.seed % 2 else not run.work("tried").exists(seen):
        run.work("tried").write(seen, b"")
        raise RuntimeError("out of luck")
    pack_shard._function(shared, number, first_key, rows)
