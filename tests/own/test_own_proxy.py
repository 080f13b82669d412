"""Small models of the user's making, trained before the run: their batches, and which of their answers counts."""

import pytest
import torch
from test_wrap import CLASSES, X, Y, wrapped
from torch import nn

from iskit.errors import Diverged


def normed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))


@pytest.mark.parametrize("n", [32, 33, 34, 47, 49, 65])
@pytest.mark.parametrize("spec", ["rho(presample=2, proxy_epochs=1)", "subset(by='margin', proxy_epochs=2)"])
def test_no_batch_is_smaller_than_the_runs_so_that_batch_norm_has_a_variance(spec, n):
    sizes = []

    def make() -> nn.Module:
        model = normed()
        model.register_forward_hook(lambda module, inputs, _: sizes.append(len(inputs[0])) if module.training else None)
        return model

    loader = wrapped(spec, (X[:n], Y[:n]), proxy=make, batch_size=16)
    next(iter(loader))
    assert min(sizes) >= 16
    assert max(sizes) <= min(sizes) + 1  # even
    assert sum(sizes) == (n if "rho" in spec else 2 * n)


def test_the_epoch_of_the_lowest_loss_answers_and_one_without_a_number_never_does():
    """The loss asked for: not a number, then 3, 1, 2: the third answer is taken."""
    asked = []

    class Told(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(16, CLASSES)

        def forward(self, x):
            logits = self.layer(x.flatten(1))
            if self.training:
                return logits
            asked.append(len(asked))
            return logits * 0 + told[asked[-1]] * torch.nn.functional.one_hot(Y[held], CLASSES)

    held, train_rows = torch.arange(20), torch.arange(20, 60)
    told = [float("nan"), -3.0, 4.0, 1.0]  # of the true class's logit: the higher, the lower the loss
    loader = wrapped("unif", proxy=Told)
    run = loader.proxy("ignored", 4, train_rows, held)
    assert run.loss.isfinite().all()
    assert torch.equal(run.logits.amax(1), torch.full((20,), 4.0))
    told[:], asked[:] = [float("nan")] * 4, []
    with pytest.raises(Diverged, match="loss of the proxy model is not a finite number"):
        loader.proxy("ignored", 4, train_rows, held)
