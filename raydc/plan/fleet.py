"""The devices that a plan is priced for: some of each kind, each with a rate of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raydc.errors import ConfigError

FORM = "COUNT:RATE[:PRICE], such as 8:26700:2.5"


@dataclass(frozen=True)
class Kind:
    """Devices of one kind."""

    count: int
    rate: float | None = None
    """Image-steps a second of one; None: not known."""
    price: float | None = None
    """Of one device-hour."""


@dataclass(frozen=True)
class Fleet:
    """Devices that work side by side: whoever is free takes the next block, so fast ones take more of them."""

    kinds: tuple[Kind, ...]

    @property
    def devices(self) -> int:
        """How many there are."""
        return sum(kind.count for kind in self.kinds)

    @property
    def rate(self) -> float | None:
        """Image-steps a second of all; None if one kind's is not known."""
        rates = [kind.count * kind.rate for kind in self.kinds if kind.rate is not None]
        return sum(rates) if len(rates) == len(self.kinds) else None

    @property
    def slowest(self) -> float | None:
        """Image-steps a second of the slowest device."""
        return min((kind.rate for kind in self.kinds if kind.rate is not None), default=None)

    @property
    def hourly(self) -> float | None:
        """Price of an hour of all; None if one kind's is not known."""
        prices = [kind.count * kind.price for kind in self.kinds if kind.price is not None]
        return sum(prices) if len(prices) == len(self.kinds) else None

    def hours(self, image_steps: float) -> float | None:
        """Hours for work that can be cut at will."""
        return image_steps / self.rate / 3600 if self.rate else None

    def tail_hours(self, unit: float) -> float | None:
        """The most that cannot be shared out: one unit of so many image-steps, begun last on the slowest device."""
        return unit / self.slowest / 3600 if self.slowest else None

    def described(self) -> str:
        """The fleet in words: ``8 x 26,700/s + 16 x 4,000/s``."""
        return " + ".join(f"{k.count} x {k.rate:,.4g}/s" if k.rate else f"{k.count} x ?" for k in self.kinds)


def stated(
    kinds: Sequence[str], gpus: int | None, rate: float | None, price: float | None, measured: Kind | None = None
) -> Fleet:
    """The fleet of a command line.

    Args:
        kinds: of the form ``COUNT:RATE[:PRICE]``; they stand for the three that follow.
        gpus: equal devices; None: as many as were measured, or one.
        rate: of one; None: the measured one.
        price: of a device-hour.
        measured: the workers of a calibration.

    Raises:
        ConfigError: both ways of stating a fleet, or one that cannot be read.
    """
    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigError(f"--rate {rate:g}: expected the image-steps a second of one device, above zero")
    if not kinds:
        known = measured or Kind(1)
        return Fleet((Kind(gpus or known.count, rate or known.rate, price),))
    if (gpus, rate, price) != (None, None, None):
        raise ConfigError("--fleet states devices, rates and prices; leave out --gpus, --rate and --price")
    return parse_fleet(kinds)


def parse_fleet(texts: Sequence[str]) -> Fleet:
    """Read kinds of devices of the form ``COUNT:RATE[:PRICE]``.

    Raises:
        ConfigError: another form, or numbers that are not positive.
    """
    return Fleet(tuple(_kind(text) for text in texts))


def _kind(text: str) -> Kind:
    parts = text.split(":")
    try:
        count, rate = int(parts[0]), float(parts[1])
        price = float(parts[2]) if len(parts) > 2 else None
    except (ValueError, IndexError):
        raise ConfigError(f"--fleet {text}: expected {FORM}") from None
    if len(parts) > 3 or count < 1 or not 0 < rate < float("inf") or (price is not None and not price >= 0):
        raise ConfigError(f"--fleet {text}: expected {FORM}, with a count and a rate above zero")
    return Kind(count, rate, price)
