"""The same in Hugging Face's Trainer, whose checkpoints hold the loader: python examples/hf_trainer.py folder"""

import sys

import torch
import transformers as hf
from plain_loop import INPUT, LABEL, network

from iskit import wrap


class SampledTrainer(hf.Trainer):
    def get_train_dataloader(self):
        return self.loader  # as it is: a Trainer's own would draw the examples by a sampler of its own

    def compute_loss(self, model, inputs, **others):  # evaluation asks it too: `if not model.training`
        self.optimizer.param_groups[0]["lr"] = 0.1 * self.loader.rate(lambda t: 1 - t)
        logits = model(inputs["input"])  # model(**inputs).logits, of a model of theirs
        return self.loader.reduce(torch.nn.functional.cross_entropy(logits, inputs["labels"], reduction="none"), logits)

    def save_model(self, output_dir=None, _internal_call=False):
        super().save_model(output_dir, _internal_call)
        if self.args.should_save:
            torch.save(self.loader.state_dict(), f"{output_dir or self.args.output_dir}/loader.pt")


def main(folder: str) -> torch.nn.Module:
    model, data = network(), [{"input": row, "labels": label} for row, label in zip(INPUT, LABEL, strict=True)]
    args = hf.TrainingArguments(folder, num_train_epochs=1, max_grad_norm=0, save_steps=20, ignore_data_skip=True)
    trainer = SampledTrainer(model, args, optimizers=(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), None))
    world = torch.distributed.group.WORLD  # the ranks for which Trainer puts the model into DistributedDataParallel
    trainer.loader = wrap(data, model, group=world, target="labels", sampler="p", batch_size=40, budget=0.3, epochs=20)
    if last := hf.trainer_utils.get_last_checkpoint(folder):
        trainer.loader.load_state_dict(torch.load(f"{last}/loader.pt", weights_only=True))
    trainer.train(resume_from_checkpoint=last)
    return model


if __name__ == "__main__":
    main(sys.argv[1])
