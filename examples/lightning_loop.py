"""The same in PyTorch Lightning, whose checkpoints hold the loader: python examples/lightning_loop.py folder"""

import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from plain_loop import INPUT, LABEL
from torch import nn

import iskit


class Classifier(nn.Sequential, lightning.LightningModule):  # its forward gives logits, which some samplers ask for
    def train_dataloader(self):
        model = self.trainer.model  # this one, on its device; on several ranks already in DistributedDataParallel
        self.loader = iskit.wrap((INPUT, LABEL), model, sampler="p", batch_size=40, budget=0.3, epochs=20)
        return self.loader

    def training_step(self, batch, number):
        self.optimizers().param_groups[0]["lr"] = 0.1 * self.loader.rate(lambda t: 1 - t)
        logits = self(batch[0])
        return self.loader.reduce(nn.functional.cross_entropy(logits, batch[1], reduction="none"), logits)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def main(folder: Path) -> nn.Module:
    torch.manual_seed(1)
    model = Classifier(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))
    saved = ModelCheckpoint(folder, save_last=True, every_n_train_steps=20)
    trainer = lightning.Trainer(max_epochs=1, callbacks=[saved], logger=False)  # one epoch: the whole run
    trainer.fit(model, ckpt_path=next(folder.glob("last.ckpt"), None))
    return model


if __name__ == "__main__":
    main(Path(sys.argv[1]))
