"""The work of each command."""

from __future__ import annotations

import argparse
import io
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from poise.cli.folder import FILES, claimed
from poise.cli.saying import say
from poise.core.errors import ArgumentError, DataError, StudyError, shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ENDINGS", "run_explain", "run_predict", "run_study"]

RECIPE_CAP = 64 * 1024  # bytes; a recipe of every part has about two thousand
ENDINGS = (".csv", ".jsonl", ".parquet")


def run_study(arguments: argparse.Namespace) -> None:
    """Run a study into a folder of its own, and say what it found."""
    with claimed(arguments.out, arguments.data, arguments.force) as folder:
        from poise.data.text import read_text
        from poise.study.progress import ProgressBar, Quiet
        from poise.study.report import summary
        from poise.study.study import Study

        # A text of another ending is read here, because a path is known for one by its ending.
        reading = {"encoding": arguments.encoding, "characters": arguments.characters}
        data, given = arguments.data, reading
        if arguments.text:
            data, given = read_text(arguments.data, **reading), {}
        study = Study(
            data,
            target=arguments.target,
            budget=arguments.budget,
            out=folder,
            seed=arguments.seed,
            device=arguments.device,
            groups=arguments.groups,
            time=arguments.time,
            task=arguments.task,
            parts=None if arguments.parts is None else [name.strip() for name in arguments.parts.split(",")],
            search=arguments.search,
            ablation=not arguments.no_ablation,
            progress=Quiet() if arguments.quiet else ProgressBar(),
            **given,
            delimiter=arguments.delimiter,
            network=arguments.network,
            window=arguments.window,
            width=arguments.width,
            depth=arguments.depth,
            per_class=arguments.per_class,
            size=arguments.size,
            bad_images=arguments.bad_images,
            cache=None if arguments.no_cache else _cache(),
        )
        result = study.run()
    say(summary(result), sys.stdout)
    quoted = shlex.quote(arguments.out or str(folder))
    say(f"Files in {quoted}:", sys.stdout)
    for name, what in FILES.items():
        if (folder / name).exists():
            say(f"  {name:<15}  {what.format(folder=quoted, new=study.source.new)}", sys.stdout)


def run_predict(arguments: argparse.Namespace) -> None:
    """Write a model's predictions to a file or to stdout."""
    out = None if arguments.out is None else Path(arguments.out)
    if out is not None:
        if out.suffix.lower() not in ENDINGS:
            raise ArgumentError(f"`--out` must end in {', '.join(ENDINGS)}; got {shown(str(out))}. Rename it.")
        if not os.path.isdir(out.absolute().parent):
            raise StudyError(f"`--out`: there is no folder {shown(str(out.parent))}. Make it first.")
        if os.path.exists(out) and os.path.exists(arguments.data) and os.path.samefile(out, arguments.data):
            raise ArgumentError(f"`--out` must be another file than DATA; got {shown(str(out))} twice. Rename it.")
    from poise.study.atomic import write_bytes_atomic

    predictions = _predictions(arguments)
    if out is None:
        say(predictions.to_csv(index=False), sys.stdout, end="")
    elif out.suffix.lower() == ".parquet":
        buffer = io.BytesIO()
        predictions.to_parquet(buffer, index=False)
        write_bytes_atomic(out, buffer.getvalue())
    elif out.suffix.lower() == ".jsonl":
        text = predictions.to_json(orient="records", lines=True, double_precision=15, force_ascii=False)
        write_bytes_atomic(out, text.encode("utf-8"))
    else:
        write_bytes_atomic(out, predictions.to_csv(index=False).encode("utf-8"))


def _predictions(arguments: argparse.Namespace) -> pd.DataFrame:
    import pandas as pd

    from poise.study.model import load_model

    model = load_model(arguments.model)
    new = model.kind.read_new(arguments.data, model.encoder, encoding=arguments.encoding, delimiter=arguments.delimiter)
    if new.note:
        say(f"note: {new.note}", sys.stderr)
    found = model.predict_frame(new.data)
    return found if new.names is None else pd.concat([new.names, found], axis=1)


def _cache() -> Path:
    """Return the folder that keeps decoded pictures: that of the user's other programs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "poise" / "images"


def run_explain(arguments: argparse.Namespace) -> None:
    """Say what the recipe in a file does."""
    named = shown(arguments.recipe, 200)
    if not os.path.isfile(arguments.recipe):
        raise DataError(f"{named} is no file. Pass a recipe, such as the recipe.yaml of a study.")
    try:
        with open(arguments.recipe, "rb") as file:
            data = file.read(RECIPE_CAP + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise DataError(f"{named} cannot be read: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{named}, byte {error.start}: no UTF-8 text. Pass a .yaml or .json.") from error
    if len(data) > RECIPE_CAP:
        raise DataError(f"{named} has more than {RECIPE_CAP} bytes. It is no recipe.")
    from poise import Recipe

    say(Recipe.from_yaml(text).explain(), sys.stdout)
