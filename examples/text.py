"""A study of a text: which parts help a network predict its next character, and what the network writes then.

The text is the documentation of Python's statements, which every Python brings. So small a network on so little text
learns next to nothing: take 60,000 characters, the default network and ten minutes or more.
"""

from pydoc_data.topics import topics

import torch

from poise.data.text import Text
from poise.study import Study
from poise.study.report import summary
from poise.study.text_network import TextDesign

torch.set_num_threads(1)  # faster for products as small as these
prose = "\n".join(topics.values())
study = Study(
    Text("topics", prose[:660]),
    budget="2trials",
    design=TextDesign(network="lstm", width=8, window=16),
    parts=["embedding_dropout", "locked_dropout", "recurrent_drop_connect", "clip_norm", "patience"],
    ablation=False,
)
result = study.run()
print(summary(result))

model = study.model
assert model is not None
print("bits per character of another text:")
print(model.predict_frame(prose[5_000:5_100]).round(2).to_string(index=False))
print("what it writes:", repr(model.sample("The ", 60, seed=0, temperature=0.7)))
