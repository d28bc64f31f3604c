"""One thread: results depend on the count, and more than the machine has cores makes small networks crawl."""

from __future__ import annotations

from raydc.teachers.ambient import pin

pin(1)
