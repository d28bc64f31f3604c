"""Densification: the images of a class pushed apart, so that they are not copies of each other.

Formula: for each class of the batch, the views of its n images pooled to size x size and flattened, X (n x 3 size^2);
e the eigenvalues of X X^T; KL(softmax(e / temperature) || softmax(e)), the left side held fixed; summed over classes. A
class with one image contributes 0. ``scale: mean`` divides e by its mean first, so that the value does not depend on
the brightness or size of pictures; ``raw`` is active only while the largest eigenvalue leads by less than about 50.
Source: G-VBSM, arXiv 2311.17950 (data densification); specification sections 1.2 and 3.1 item 11. The eigenvalues are
those of a symmetric matrix, taken in double precision: they reach 10^4, and their differences count.
Defaults: weight 1, temperature 4, size 32, scale raw (all data sets).
Not for: blocks with one image a class, where it is 0. On a GPU the decomposition waits for the device once a step for
each size of class.
"""

from __future__ import annotations

from collections import defaultdict

import torch
import torch.nn.functional as F

from raydc.condense.discrepancy.term import Look, Term
from raydc.condense.moments import wide
from raydc.config.axes.discrepancy import Densification


class DensificationTerm(Term):
    """The distance of each class's spectrum from a flatter one."""

    config: Densification
    recordable = False

    def __call__(self, look: Look) -> torch.Tensor:
        """The sum over classes, a scalar; classes of equal size are decomposed together."""
        view = wide(look.view)
        pooled = F.adaptive_avg_pool2d(view, self.config.size).flatten(1).double()
        total = 0.0 * view.sum()  # 0, yet of the graph: the step's only term may be this one
        for images in _by_size(look.classes):
            rows = pooled[torch.tensor(images, device=view.device)]
            spectra = torch.linalg.eigvalsh(rows @ rows.mT)
            if self.config.scale == "mean":
                spectra = spectra / spectra.mean(1, keepdim=True).clamp_min(torch.finfo(spectra.dtype).tiny)
            flatter = (spectra.detach() / self.config.temperature).log_softmax(1)
            total = total + (flatter.exp() * (flatter - spectra.log_softmax(1))).sum().to(view.dtype)
        return total


def _by_size(classes: tuple[int, ...]) -> list[list[list[int]]]:
    """Positions of the images of each class of two or more, classes of equal size together."""
    members: dict[int, list[int]] = defaultdict(list)
    for n, c in enumerate(classes):
        members[c].append(n)
    sizes: dict[int, list[list[int]]] = defaultdict(list)
    for c in sorted(members):
        sizes[len(members[c])].append(members[c])
    return [group for size, group in sorted(sizes.items()) if size > 1]
