"""Would importance sampling help here? What Katharopoulos & Fleuret 2018 show in their figures 1 and 2, as numbers."""

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iskit.data import Dataset
from iskit.errors import InputError
from iskit.randomness import Stream, permutation
from iskit.samplers.gnorm import bound, cross_entropy, probability, tau
from iskit.training.scorer import eval_mode, gradient_norm


def diagnose(
    model: nn.Module, data: Dataset, *, pool: int = 1024, batch_size: int = 128, seed: int = 1
) -> pd.DataFrame:
    """How far a batch's gradient strays from its pool's, by the score that draws the batch; one row a score.

    model: at a checkpoint, on the data's device, judged in eval mode and left as it is; a small one, for the exact
    norms take a backward pass an example. pool: training examples drawn at random; batch_size: how many are drawn
    from them, with replacement, and weighted back without bias.

    Columns: `variance` = E ||batch gradient - pool gradient||^2; `relative` = as a share of uniform sampling's
    (figure 1 shows its root); `tau`: what gnorm's switch would read; `correlation` (Pearson) and `rank_correlation`
    (Spearman) of the score with the exact norm (figure 2), NaN for uniform.
    InputError for a pool larger than the training set, or data of another kind.
    """
    if not isinstance(data, Dataset):
        raise InputError(
            f"data is a {type(data).__name__}: give an iskit.data.Dataset, whose examples have no transforms"
        )
    for name, value in {"pool": pool, "batch_size": batch_size}.items():
        if value < 1:
            raise InputError(f"{name}={value} must be at least 1")
    if pool > len(data):
        raise InputError(f"pool={pool} is more than the {len(data)} training examples: set it to at most {len(data)}")
    index = permutation(seed, Stream.CHOICE, 0, len(data))[:pool].to(data.label.device)
    image = data.normalise(data.images(index))
    target = F.one_hot(data.label[index], len(data.classes)).float()
    return compare(model, image, target, batch_size)


def compare(model: nn.Module, image: Tensor, target: Tensor, batch_size: int) -> pd.DataFrame:
    """`diagnose` for a given pool: images (n, C, H, W), normalised, and soft targets (n, K)."""
    norm = gradient_norm(model, image, target).double()
    with eval_mode(model):
        logits = model(image).float()
        trained = [p for p in model.parameters() if p.requires_grad]
        mean = torch.autograd.grad(F.cross_entropy(logits, target), trained)
    logits = logits.detach()
    scores = {
        "uniform": torch.ones_like(norm),
        "loss": cross_entropy(logits, target).double(),
        "gnorm": bound(logits, target).double(),
        "full": norm,
    }
    square = torch.stack([g.double().square().sum() for g in mean]).sum()
    by_score = {name: probability(score) for name, score in scores.items()}
    values = pd.DataFrame({name: score.cpu().numpy() for name, score in scores.items()})
    frame = pd.DataFrame(
        {
            "variance": {name: variance(norm, square, g, batch_size).item() for name, g in by_score.items()},
            "tau": {name: tau(g).item() for name, g in by_score.items()},
            "correlation": values.corr("pearson")["full"],
            "rank_correlation": values.corr("spearman")["full"],
        }
    )
    frame.insert(1, "relative", frame["variance"] / frame["variance"]["uniform"])
    return frame.rename_axis("score")


def least(norm: Tensor, square: Tensor, b: int) -> Tensor:
    """The smallest `variance` of all distributions, that of g proportional to the norm: by Cauchy and Schwarz
    sum ||G||^2 / g >= (sum ||G||)^2 for any g that sums to 1. Shapes as there."""
    return (norm.mean().square() - square) / b


def variance(norm: Tensor, square: Tensor, g: Tensor, b: int) -> Tensor:
    """E ||sum_j G_j / (n g_j) / b - mean G||^2 for b rows j drawn by g (n,) with replacement.

    norm (n,): ||G_i||; square: ||mean G||^2. The draws are independent and each is unbiased, so it is the second
    moment of one, less the square of its mean, over b; least for g proportional to the norm.
    """
    return ((norm.square() / g).sum() / len(norm) ** 2 - square) / b
