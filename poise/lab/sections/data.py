"""Section 5: augmentation and mixed labels."""

from __future__ import annotations

from poise.lab.section import Section, Show

__all__ = ["SECTION"]

SECTION = Section(
    id="data",
    title="More data for free: the picture changes, the label stays",
    body=(
        """
The best cure for fitting too well is more data. Where there is none, you may know something that the network does
not: a house seen in a mirror is still a house. So show it the mirror image too, under the same label. That is
*augmentation*: each time a picture comes up in training, a small random edit is drawn for it, and the network never
sees quite the same picture twice. It costs no label, and the edits are off when you predict.

Below is one picture under every augmentation of the library, and twelve draws of one of them. Start with [turning
and shifting](#augment.method=affine&augment.strength=0.3), then try [another crop each
time](#augment.method=random_resized_crop&augment.strength=0.8), [other
light](#augment.method=color_jitter&augment.strength=0.8) or [a piece
erased](#augment.method=random_erasing&augment.strength=0.6).
""",
        Show("augment"),
        """
An augmentation is a promise: *this edit does not change the answer*. Only you can give it. A [mirror
image](#augment.method=flip&augment.strength=1) is harmless for houses and wrong for text; a half turn makes a 9 of
a 6. The last panel shows what broken promises cost, on digits of which 100 have a label. [A mild
turn](#augment.method=affine&augment.strength=0.3) helps; the mirror hurts; so does a shift by two pixels of eight,
which pushes digits out of the picture; most edits change nothing that one could measure. [Turned at full
strength](#augment.method=affine&augment.strength=1), digits are no longer digits. If you cannot name the picture,
turn the strength down.

### A label can be mixed as a picture can

*Mixup* goes further: it lays two pictures over each other, 70 % of one and 30 % of the other, and asks for just
these shares as the answer. The label is then no longer one class but a vector whose entries sum to 1. No such
picture exists in the world, but a network that has learned to answer in between, in between, has smoother edges
between its classes and is seldom sure without reason.
""",
        Show("mixing"),
        """
A number called *alpha* says how evenly: [0.1](#mixing.method=mixup&mixing.alpha=0.1) hardly mixes,
[5](#mixing.method=mixup&mixing.alpha=5) mixes nearly by half. [CutMix](#mixing.method=cut_mix&mixing.alpha=1)
pastes a box instead, so every patch is a real one; the label's share is the area of the box. Mixing is not free of
harm either: with few steps of training, or where a picture half of this and half of that means nothing, it can cost
more than it brings. The table of wines in the last section is such a case.
""",
    ),
)
