"""The command line: `poise study`, `poise predict`, `poise explain`, `poise lab`.

Nothing heavy is imported before a command needs it, so that `poise --help` answers at once. Exit codes: 0 done, 2 a
mistake of the caller's (one line on stderr; with POISE_DEBUG=1 a traceback), 130 Ctrl-C before there was a result.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from poise import __version__
from poise.core.errors import ArgumentError, DataError, PoiseError, PoiseWarning, StudyError, shown
from poise.lab.command import add_command as add_lab

__all__ = ["main"]

FILES = {
    "report.html": "the report, for a browser",
    "recipe.yaml": "the recipe found; poise explain {folder}/recipe.yaml",
    "model": "the ensemble; poise predict {folder} NEW.csv",
    "predictions.csv": "predictions of the test rows",
    "result.json": "every number of the report",
    "record.sqlite": "every trial of the search",
}
LEFT_BY_A_CRASH = re.compile(
    r"\.course\.jsonl|record\.sqlite-(wal|shm)|\.record\.sqlite\.lock|\..+\.[0-9a-f]{8}\.(new|old)|\..+\.draft"
)
RECIPE_CAP = 64 * 1024  # bytes; a recipe of every part has about two thousand
SPACE = 64 * 2**20  # bytes; a study of a wide table writes about half of that
ENDINGS = (".csv", ".jsonl", ".parquet")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as end:  # argparse has told why
        return int(end.code or 0)
    command: Callable[[argparse.Namespace], None] = arguments.command
    debug = os.environ.get("POISE_DEBUG") == "1"
    with warnings.catch_warnings():
        warnings.simplefilter("always", PoiseWarning)
        warnings.showwarning = _show_warning  # type: ignore[assignment]  # it is always called by position
        try:
            command(arguments)
            sys.stdout.flush()
        except KeyboardInterrupt:
            _say("interrupted before there was a result", sys.stderr)
            return 130
        except BrokenPipeError:
            # The reader (`| head`) has enough; without this, Python's own flush at exit would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except PoiseError as error:
            if debug:
                raise
            _say(f"error: {error}", sys.stderr)
            return 2
        except ModuleNotFoundError as error:
            if debug or (error.name or "poise").split(".")[0] in {"poise", *sys.stdlib_module_names}:
                raise
            _say(f"error: this command needs {error.name}. Install it: pip install 'poise[all]'", sys.stderr)
            return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="poise",
        description="Regularization in PyTorch: find the recipe that narrows the gap between training and test.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"poise {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    study = commands.add_parser("study", help="find a recipe for one table", allow_abbrev=False)
    study.set_defaults(command=_study)
    study.add_argument(
        "data", metavar="DATA", help="a .csv, .parquet, .jsonl, ... file, or a built-in table: iris, wine"
    )
    study.add_argument(
        "--target", metavar="COLUMN", action="append", help="the column to predict, or A,B (known for built-in tables)"
    )
    study.add_argument("--budget", default="2m", help="time or trials: 90s, 2m, 1.5h, 50trials (default: 2m)")
    study.add_argument("--out", metavar="DIR", help="folder for the results (default: runs/TABLE-1, -2, ...)")
    study.add_argument("--force", action="store_true", help="replace the study that is in --out")
    study.add_argument("--seed", type=int, default=0, help="equal seeds and trials give equal results (default: 0)")
    study.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    study.add_argument(
        "--groups", metavar="COLUMN", help="rows with one value in it stay together when rows are divided"
    )
    study.add_argument("--time", metavar="COLUMN", help="rows are divided along it: the test rows are the latest")
    study.add_argument("--task", choices=("classification", "regression"), help="(default: by the target's values)")
    study.add_argument("--parts", metavar="A,B,C", help="regularizers to search among (default: all)")
    study.add_argument("--no-ablation", action="store_true", help="do not measure what each part is worth")
    study.add_argument("--quiet", action="store_true", help="no progress on stderr")
    _add_reading(study)

    predict = commands.add_parser("predict", help="predict the rows of a table", allow_abbrev=False)
    predict.set_defaults(command=_predict)
    predict.add_argument("model", metavar="MODEL", help="a study's folder, or the model folder in it")
    predict.add_argument("data", metavar="DATA", help="a table with the columns of the study's; others are ignored")
    predict.add_argument("--out", metavar="FILE", help=f"{', '.join(ENDINGS)} (default: CSV to stdout)")
    _add_reading(predict)

    explain = commands.add_parser("explain", help="say what a recipe does, what in it conflicts", allow_abbrev=False)
    explain.set_defaults(command=_explain)
    explain.add_argument("recipe", metavar="RECIPE", help="a .yaml or .json file")
    add_lab(commands)
    return parser


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoding", help="of a text file (default: found)")
    parser.add_argument("--delimiter", help="of a text file (default: found)")


# ---- commands ----


def _study(arguments: argparse.Namespace) -> None:
    with _claimed(arguments.out, arguments.data, arguments.force) as folder:
        from poise.study.progress import ProgressBar, Quiet
        from poise.study.report import summary
        from poise.study.study import Study

        result = Study(
            arguments.data,
            target=arguments.target,
            budget=arguments.budget,
            out=folder,
            seed=arguments.seed,
            device=arguments.device,
            groups=arguments.groups,
            time=arguments.time,
            task=arguments.task,
            parts=None if arguments.parts is None else [name.strip() for name in arguments.parts.split(",")],
            ablation=not arguments.no_ablation,
            progress=Quiet() if arguments.quiet else ProgressBar(),
            encoding=arguments.encoding,
            delimiter=arguments.delimiter,
        ).run()
    _say(summary(result), sys.stdout)
    quoted = shlex.quote(arguments.out or str(folder))
    _say(f"Files in {quoted}:", sys.stdout)
    for name, what in FILES.items():
        if (folder / name).exists():
            _say(f"  {name:<15}  {what.format(folder=quoted)}", sys.stdout)


def _predict(arguments: argparse.Namespace) -> None:
    out = None if arguments.out is None else Path(arguments.out)
    if out is not None:
        if out.suffix.lower() not in ENDINGS:
            raise ArgumentError(f"`--out` must end in {', '.join(ENDINGS)}; got {shown(str(out))}. Rename it.")
        if not os.path.isdir(out.absolute().parent):
            raise StudyError(f"`--out`: there is no folder {shown(str(out.parent))}. Make it first.")
        if os.path.exists(out) and os.path.exists(arguments.data) and os.path.samefile(out, arguments.data):
            raise ArgumentError(f"`--out` must be another file than DATA; got {shown(str(out))} twice. Rename it.")
    from poise.data import read
    from poise.study.atomic import write_bytes_atomic
    from poise.study.table_model import load_model

    model = load_model(arguments.model)
    frame = read(arguments.data, encoding=arguments.encoding, delimiter=arguments.delimiter).frame
    known = set(model.encoder.input_names)
    if unused := [name for name in frame.columns if name not in known]:
        _say(f"note: {len(unused)} columns are not used: {shown(unused, 200)}", sys.stderr)
    predictions = model.predict_frame(frame.drop(columns=unused))
    if out is None:
        _say(predictions.to_csv(index=False), sys.stdout, end="")
    elif out.suffix.lower() == ".parquet":
        buffer = io.BytesIO()
        predictions.to_parquet(buffer, index=False)
        write_bytes_atomic(out, buffer.getvalue())
    elif out.suffix.lower() == ".jsonl":
        text = predictions.to_json(orient="records", lines=True, double_precision=15, force_ascii=False)
        write_bytes_atomic(out, text.encode("utf-8"))
    else:
        write_bytes_atomic(out, predictions.to_csv(index=False).encode("utf-8"))


def _explain(arguments: argparse.Namespace) -> None:
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

    _say(Recipe.from_yaml(text).explain(), sys.stdout)


# ---- the folder of a study ----


@contextmanager
def _claimed(out: str | None, data: str, force: bool) -> Iterator[Path]:
    """Give a study a folder of its own; a study that ends without a result leaves things as they were.

    A former study (`force`) stands aside until the new one is complete. Raises: StudyError before any work is done.
    """
    _check_space(Path(out or "runs"))
    folder = _numbered(data) if out is None else Path(os.path.realpath(out))
    try:
        there = out is not None and os.path.lexists(folder)
        aside = _set_aside(folder, force) if there else None
    except OSError as error:
        raise StudyError(f"`--out`: {shown(str(folder), 200)} cannot be used: {error.strerror}.") from error
    try:
        yield folder
    except BaseException as error:
        # After a fault of ours the record is all that is left of the search: only a replacement is taken back then.
        expected = isinstance(error, (PoiseError, KeyboardInterrupt))
        if not os.path.exists(folder / "result.json") and (aside is not None or expected):
            shutil.rmtree(folder, ignore_errors=True)
            if aside is not None:
                aside.rename(folder)
            elif there:
                folder.mkdir(exist_ok=True)
        raise
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def _check_space(folder: Path, least: int = SPACE) -> None:
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if os.path.isdir(parent))
    if (free := shutil.disk_usage(place).free) < least:
        raise StudyError(f"{shown(str(place), 200)} has {free} free bytes; a study needs {least}. Free some first.")


def _numbered(data: str) -> Path:
    """Make and return the first free folder of runs/TABLE-1, runs/TABLE-2, ..."""
    stem, number = Path(data).stem[:60] or "table", 1
    try:
        os.makedirs("runs", exist_ok=True)
        while True:
            folder = Path("runs") / f"{stem}-{number}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise StudyError(f"the folder `runs` cannot be written here: {error.strerror}. Pass --out DIR.") from error


def _set_aside(folder: Path, force: bool) -> Path | None:
    """Refuse what is no empty folder, or, with `force`, rename a former study and return its new place."""
    named = shown(str(folder), 200)
    if not folder.is_dir():
        raise StudyError(f"`--out` must be a folder; {named} is a file. Choose another name.")
    entries = set(os.listdir(folder))
    if not entries:
        return None
    if foreign := sorted(name for name in entries - FILES.keys() if not LEFT_BY_A_CRASH.fullmatch(name)):
        raise StudyError(f"`--out` must be a new or empty folder; {named} holds {shown(foreign)}. Choose another name.")
    if not force:
        raise StudyError(f"`--out`: {named} holds a study. Pass --force to replace it, or choose another name.")
    from poise.study.atomic import beside

    aside = beside(folder, ".old")
    folder.rename(aside)
    return aside


# ---- saying ----


def _say(text: str, stream: TextIO, end: str = "\n") -> None:
    # A stream in the C locale cannot take every name; an error message must not end in another error.
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    own = issubclass(category, PoiseWarning)
    _say(f"warning: {message}\n" if own else warnings.formatwarning(message, category, *place[:2]), sys.stderr, end="")


if __name__ == "__main__":
    sys.exit(main())
