"""What samplers may ask of the model about candidates, without leaving a trace in it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from iskit.budget import Meter
from iskit.errors import Diverged, InputError
from iskit.samplers import Batch

GRADIENT_ELEMENTS = 1 << 24  # of per-example gradients held at once: 64 MiB in float32


class Scorer:
    """Answers in eval mode, leaves parameters, buffers, gradients and mode as they were, and charges the meter.

    around: entered for each answer, e.g. to set the precision and the clock. infer: gives the logits, in place of the
    function of that name.
    """

    def __init__(
        self,
        model: nn.Module,
        meter: Meter,
        around: Callable[[], AbstractContextManager] = nullcontext,
        infer: Callable[[Tensor], Tensor] | None = None,
    ):
        self.model, self.meter, self.around = model, meter, around
        self.infer = infer or partial(logits, model)

    def __call__(self, pool: Batch) -> Tensor:
        """Logits (m, K) float32."""
        return self._answer(self.infer, pool)

    def feature(self, pool: Batch) -> tuple[Tensor, Tensor]:
        """Logits (m, K) and features (m, D), see `penultimate`, float32. InputError if the model has none such."""
        with penultimate(self.model) as given:
            found = self._answer(partial(logits, self.model), pool)  # a captured step would not call the hook
        if len(given) != 1 or given[0].ndim != 2 or len(given[0]) != len(pool):
            raise InputError("the model's last linear layer is not given one row an example: choose another sampler")
        return found, given[0]

    def _answer(self, infer: Callable[[Tensor], Tensor], pool: Batch) -> Tensor:
        with self.around():
            found = infer(pool.image)
        check_logits(found, len(pool))
        self.meter.scored(len(pool))
        if found.device.type == "cpu":  # a GPU would have to be waited for: there the loss tells, a step later
            check_finite(found, pool)
        return found.float()

    def gradient_norm(self, pool: Batch) -> Tensor:
        """(m,) float32: norm of each row's own gradient, see `gradient_norm`.

        Costs a forward and a backward pass, charged as three forward passes: the meter's backward ones train.
        """
        with self.around():
            norm = gradient_norm(self.model, pool.image, pool.target)
        self.meter.scored(3 * len(pool))
        return norm


def check_logits(logits: Any, rows: int) -> None:
    """InputError unless they are (rows, K)."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != rows:
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise InputError(f"the model gives {found} for {rows} examples: it must give logits of shape ({rows}, classes)")


def check_finite(logits: Tensor, pool: Batch) -> None:
    """Diverged, naming the examples, if some logits are no finite numbers: draws by such scores blame others."""
    wrong = ~logits.isfinite().all(dim=1)
    if wrong.any():
        raise Diverged(
            f"the model's output is not finite for the examples {pool.index[wrong].tolist()[:10]}, as it scores them: "
            "try a learning rate a tenth as large, or look at their values"
        )


def logits(model: nn.Module, image: Tensor) -> Tensor:
    """What the model gives for images (m, C, H, W), in eval mode and without gradient."""
    with eval_mode(model), torch.no_grad():
        return model(image)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards every module is in the mode it was in (some may be frozen)."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def penultimate(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what the last linear layer is given, one (m, D) float32 a forward pass. InputError if there is none."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError("the model has no linear layer, whose input would be the feature: give it one")
    given: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].float()))
    try:
        yield given
    finally:
        hook.remove()


def gradient_norm(model: nn.Module, image: Tensor, target: Tensor) -> Tensor:
    """(m,) float32: exact norm of the gradient of each row's cross-entropy with respect to the trained parameters.

    image (m, C, H, W), target (m, K), in eval mode: in train mode batch norm ties the rows together.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def loss(parameters: dict[str, Tensor], image: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, parameters, (image[None],)).float(), target[None])

    def norm(image: Tensor, target: Tensor) -> Tensor:
        gradient = grad(loss)(parameters, image, target)
        return torch.stack([g.float().square().sum() for g in gradient.values()]).sum().sqrt()

    rows = max(1, GRADIENT_ELEMENTS // sum(p.numel() for p in parameters.values()))
    with eval_mode(model), torch.no_grad():
        return vmap(norm, chunk_size=rows)(image, target)
