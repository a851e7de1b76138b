"""Section 6: batch normalisation."""

from __future__ import annotations

from poise.lab.section import Section, Show

__all__ = ["SECTION"]

SECTION = Section(
    id="normalisation",
    title="Normalisation keeps the layers in range",
    body=(
        """
A network multiplies layer after layer. If each layer makes its values half as large, the sixth has next to nothing
left; if each doubles them, they explode. Both make training hard, because what comes back through the layers
shrinks or grows in the same way. *Batch normalisation* takes each unit, looks at its values in the current batch,
subtracts their mean and divides by their spread. Afterwards each unit has mean 0 and spread 1, whatever the layer
before did.

Below, six hidden layers whose first weights are [half of the usual size](#batchnorm.gain=0.5&batchnorm.depth=6).
The bars are the values with batch norm, the line without. Try [twice the usual size](#batchnorm.gain=2), and [eight
layers](#batchnorm.depth=8).
""",
        Show("batchnorm"),
        """
### Why it also regularizes, and where it bites

The mean and the spread come from the batch at hand, so what a row becomes depends on which other rows it meets. The
last number under the figure says how much a row's values move when its neighbours change. This is noise, drawn anew
at each step, and like all noise of moderate size it hinders the network from learning rows by heart. Nobody chose
its size, though: it follows from the batch. With [two rows](#batchnorm.size=2&batchnorm.evaluate=false) every value
becomes plus or minus 1, and little of the input is left. With [256](#batchnorm.size=256&batchnorm.evaluate=false)
there is little noise.

At prediction the answer to one row must not hang on its neighbours. So the layer keeps *running* means and spreads
while it trains, and [uses those in evaluation](#batchnorm.evaluate=true&batchnorm.shift=0). They are the training
data's: if new data are [shifted](#batchnorm.evaluate=true&batchnorm.shift=2), the shift goes through the network,
and the values are no longer centred. That is as it should be, and it is why a model in production should watch its
inputs.

If your batches are tiny, take layer norm or group norm, which look at one row only and know no difference between
training and evaluation. They help training as much, but bring no noise of their own: do not count on them to close
a gap.
""",
    ),
)
