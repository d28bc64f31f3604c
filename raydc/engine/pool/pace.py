"""How fast an actor is, from the units it has finished and from what it says of the one in hand."""

from __future__ import annotations

from dataclasses import dataclass, field

RECENT = 0.5
"""Weight of the last unit in what is typical: a machine that has turned slow is to be taken for slow."""


@dataclass
class Pace:
    """Times are in seconds."""

    usual: float | None = None
    """Of a unit, the later ones weighing more; None before the first."""
    began: float = 0.0
    looks: list[tuple[float, float]] = field(default_factory=list)
    """(time, fraction done) of the unit in hand: the first look and the last."""

    def begin(self, now: float) -> None:
        """A unit is taken up."""
        self.began, self.looks = now, []

    def look(self, now: float, fraction: float) -> None:
        """The actor said how far it is; a unit that goes on from a checkpoint is far on at the first look."""
        self.looks = [*self.looks[:1], (now, fraction)]

    def end(self, now: float) -> None:
        """The unit is finished."""
        self.note(now - self.began)

    def note(self, seconds: float) -> None:
        """A unit took so long."""
        self.usual = seconds if self.usual is None else (1 - RECENT) * self.usual + RECENT * seconds

    def left(self, now: float) -> float | None:
        """Seconds until the unit in hand is done, from how far it came between two looks; None if not known."""
        if len(self.looks) < 2:
            return None
        (t0, f0), (t1, f1) = self.looks
        # What is overdue will take as long again: nobody is to wait for a worker that hangs.
        return abs((1 - f1) * (t1 - t0) / (f1 - f0) - (now - t1)) if f1 > f0 else None

    def guess(self, now: float, usual: float) -> float:
        """The same where it has to be guessed, with what is usual for all where nothing is known of this one."""
        known = self.left(now)
        return known if known is not None else abs((self.usual or usual) - (now - self.began))
