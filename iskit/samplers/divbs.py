r"""Trains the candidates that together best keep the direction of the pool's mean gradient, without repeating it.

cite: Hong et al. 2024, "Diversified Batch Selection for Training Acceleration"
changes: which candidates, once a step
passes: one forward a candidate: presample a trained row
rule: of presample x b candidates, in eval mode, g_i = (softmax(z_i) - target_i) outer h_i, the gradient of the last
  linear layer's weights, h_i its input. residual = mean g; until b are chosen, draw i with probability proportional to
  |<g_i, residual>|, 0 for the chosen, take from g_i its parts along the chosen (Gram-Schmidt), and from the residual
  its part along what is left. Once the residual is used up, the rest uniformly among the others. Plain mean, no
  weights. Under mixing g is that of the mixed row
formula: P_i \propto |\langle g_i, r \rangle|, \quad r = \bar g \text{ less its parts along the chosen}
when: batches would repeat themselves, as with near copies, and a forward pass is cheap beside a backward one
differs: nothing in the choice; inner products come from the Gram matrix (E E^T) * (H H^T), no gradient is ever formed.
  presample=5 is the paper's share of .2
neutral: presample=1
"""

import torch
from torch import Tensor

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.randomness import Stream, generator
from iskit.samplers.base import Batch, Sampler, Score, samplers
from iskit.samplers.draw import permuted

EXHAUSTED = 1e-9  # of its first length: what is left of a vector is rounding


@samplers.register("divbs")
class DivBS(Sampler):
    """presample: candidates for each example trained; control: permute the gradients among the candidates."""

    needs_labels = True

    def __init__(self, *, presample: int = 5, control: bool = False):
        if presample < 1:
            raise InputError(f"sampler option presample={presample} must be 1 (no choice) or above")
        self.presample, self.control = presample, control

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        if self.candidates() > self.n:
            raise InputError(
                f"sampler option presample={self.presample} x batch_size={batch_size} is more than the {self.n} "
                f"examples to choose from: set presample to at most {self.n // batch_size}"
            )
        self.pools = torch.zeros((), dtype=torch.int64)  # seen so far; on the host

    def candidates(self) -> int:
        return self.presample * self.batch_size

    def select(self, pool: Batch, score: Score) -> tuple[Tensor, Tensor] | None:
        if self.presample == 1:
            return None
        logits, feature = score.feature(pool)
        inner = gram(logits.softmax(1) - pool.target, feature)
        number = int(self.pools)
        self.pools += 1
        if self.control:
            place = permuted(torch.arange(len(pool), device=self.device), self.seed, number)
            inner = inner[place][:, place]
        self.tell(inner.mean(1).abs())
        draws = generator(self.seed, Stream.CHOICE, number).exponential(size=(self.batch_size, len(pool)))
        rows = diverse(inner, torch.from_numpy(draws).to(self.device, non_blocking=True))
        return rows, pool.weight[rows]


def gram(error: Tensor, feature: Tensor) -> Tensor:
    """(m, m) float64: inner products of the outer products of errors (m, K) and features (m, D)."""
    error, feature = error.double(), feature.double()
    return (error @ error.T) * (feature @ feature.T)


def diverse(inner: Tensor, draws: Tensor) -> Tensor:
    """(b,) int64: the rows chosen, from inner products (m, m) of m vectors g and draws (b, m) from Exp(1).

    Of the mean's residual r and the orthonormal directions q it holds <g_i, r> and <g_i, q_k> alone: b columns, as of a
    Cholesky factor whose pivots are drawn. Nothing is read back to the host.
    """
    b, m = draws.shape
    along = inner.mean(1)  # <g_i, r>
    first = along.abs().max()
    free = torch.ones(m, dtype=torch.bool, device=inner.device)
    parts = torch.zeros(m, b, dtype=inner.dtype, device=inner.device)  # <g_i, q_k>
    rows = torch.empty(b, dtype=torch.int64, device=inner.device)
    for k in range(b):
        mass = torch.where(free, along.abs(), 0.0)
        mass = torch.where(mass.max() > EXHAUSTED * first, mass, free.to(mass.dtype))
        row = (mass / draws[k]).argmax(0, keepdim=True)
        rows[k : k + 1] = row
        free.index_fill_(0, row, False)
        rest = inner[:, row].squeeze(1) - parts[:, :k] @ parts[row, :k].squeeze(0)  # <g_i, what is left of the row>
        square = rest[row]
        # A row within the span of the chosen leaves no direction.
        new = square > EXHAUSTED * inner[row, row]
        parts[:, k] = torch.where(new, rest / square.clamp(min=1e-300).sqrt(), 0.0)
        along = along - parts[:, k] * torch.where(new, along[row] / square.clamp(min=1e-300).sqrt(), 0.0)
    return rows
