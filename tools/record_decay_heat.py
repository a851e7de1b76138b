"""Train the networks of the lab's decay maps anew and write their record."""

import torch

from poise.lab.figures.decay_heat import RECORD, record

if __name__ == "__main__":
    torch.set_num_threads(1)
    record()
    print(f"wrote {RECORD}")
