"""What sharing is worth: a convolution beside one whose weights differ from place to place, on 200 digits.

Once with the digits where they stand, and once moved about, which is the symmetry that a convolution assumes.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

from poise import sharing_report
from poise.models import SmallCnn, unshared

torch.set_num_threads(1)  # faster for products as small as these
X, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
own = torch.Generator().manual_seed(0)
order = torch.randperm(len(X), generator=own)
centred, y = (X[order].float() / 8 - 1).view(-1, 1, 8, 8), y[order]
shifts = torch.randint(8, (len(X), 2), generator=own).tolist()
moved = torch.stack([image.roll(shift, (1, 2)) for image, shift in zip(centred, shifts, strict=True)])


def shared() -> nn.Module:
    return SmallCnn(1, 10, width=16, padding_mode="circular")


for words, images in (("digits where they stand", centred), ("digits moved about", moved)):
    train, validation = (images[:200], y[:200]), (images[200:800], y[200:800])
    pair = shared, lambda: unshared(shared(), centred[:1])
    report = sharing_report(*pair, train, validation, seeds=3, steps=200, lr=1e-2, shift=(4, 4))
    print(f"{words}\n{report}\n")
