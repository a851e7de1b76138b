"""The command line: `poise study`, `poise predict`, `poise explain`, `poise lab`.

Nothing heavy is imported before a command needs it, so that `poise --help` answers at once. Exit codes: 0 done, 2 a
mistake of the caller's (one line on stderr; with POISE_DEBUG=1 a traceback), 130 Ctrl-C before there was a result.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from poise import __version__
from poise.cli.commands import ENDINGS, run_explain, run_predict, run_study
from poise.cli.saying import say, show_warning
from poise.core.errors import PoiseError, PoiseWarning
from poise.lab.command import add_command as add_lab

__all__ = ["main"]


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
        warnings.showwarning = show_warning  # type: ignore[assignment]  # it is always called by position
        try:
            command(arguments)
            sys.stdout.flush()
        except KeyboardInterrupt:
            say("interrupted before there was a result", sys.stderr)
            return 130
        except BrokenPipeError:
            # The reader (`| head`) has enough; without this, Python's own flush at exit would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except PoiseError as error:
            if debug:
                raise
            say(f"error: {error}", sys.stderr)
            return 2
        except ModuleNotFoundError as error:
            if debug or (error.name or "poise").split(".")[0] in {"poise", *sys.stdlib_module_names}:
                raise
            say(f"error: this command needs {error.name}. Install it: pip install 'poise[all]'", sys.stderr)
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

    study = commands.add_parser(
        "study", help="find a recipe for a table, a folder of images or a text", allow_abbrev=False
    )
    study.set_defaults(command=run_study)
    study.add_argument(
        "data",
        metavar="DATA",
        help="a .csv, .parquet, .jsonl, ... file, or a built-in table: iris, wine; or images: a folder with a folder "
        "for each class, an .npz or IDX file; or, without --target, a text: .txt, .md, .rst",
    )
    study.add_argument(
        "--target", metavar="COLUMN", action="append", help="the column to predict, or A,B (known for built-in tables)"
    )
    study.add_argument("--budget", default="2m", help="time or trials: 90s, 2m, 1.5h, 50trials (default: 2m)")
    study.add_argument("--out", metavar="DIR", help="folder for the results (default: runs/TABLE-1, -2, ...)")
    study.add_argument("--force", action="store_true", help="replace the study that is in --out")
    study.add_argument("--seed", type=int, default=0, help="equal seeds and trials give equal results (default: 0)")
    study.add_argument("--device", default="auto", help="cpu, cuda or cuda:1 (default: auto, which is cpu)")
    study.add_argument(
        "--groups", metavar="COLUMN", help="rows with one value in it stay together when rows are divided"
    )
    study.add_argument("--time", metavar="COLUMN", help="rows are divided along it: the test rows are the latest")
    study.add_argument("--task", choices=("classification", "regression"), help="(default: by the target's values)")
    study.add_argument("--parts", metavar="A,B,C", help="regularizers to search among (default: all)")
    study.add_argument("--search", choices=("halving", "pbt"), default="halving", help="(default: halving)")
    study.add_argument("--no-ablation", action="store_true", help="do not measure what each part is worth")
    study.add_argument("--quiet", action="store_true", help="no progress on stderr")
    study.add_argument("--per-class", type=int, metavar="N", help="of images: develop on N of each class")
    study.add_argument("--size", type=int, metavar="PIXELS", help="of image files: the side they are brought to")
    study.add_argument("--bad-images", choices=("skip", "refuse"), default="skip", help="(default: skip, and tell)")
    study.add_argument("--text", action="store_true", help="DATA is a text, whatever its ending")
    study.add_argument("--characters", type=int, metavar="N", help="of a text: use the first N (default: 300000)")
    study.add_argument("--window", type=int, metavar="N", help="of a text: characters read at once (default: 64)")
    study.add_argument(
        "--network",
        metavar="NAME",
        help="of images: cnn, resnet, wrn or vit (default: cnn); of a text: lstm, gru or transformer (default: lstm)",
    )
    study.add_argument("--width", type=int, metavar="N", help="of the network: units or channels")
    study.add_argument("--depth", type=int, metavar="N", help="of the network: layers, stages or blocks")
    study.add_argument("--no-cache", action="store_true", help="do not keep decoded images for the next time")
    _add_reading(study)

    predict = commands.add_parser(
        "predict", help="predict the rows of a table, pictures, or a text", allow_abbrev=False
    )
    predict.set_defaults(command=run_predict)
    predict.add_argument("model", metavar="MODEL", help="a study's folder, or the model folder in it")
    predict.add_argument(
        "data", metavar="DATA", help="a table with the columns of the study's (others are ignored), pictures, or a text"
    )
    predict.add_argument("--out", metavar="FILE", help=f"{', '.join(ENDINGS)} (default: CSV to stdout)")
    _add_reading(predict)

    explain = commands.add_parser("explain", help="say what a recipe does, what in it conflicts", allow_abbrev=False)
    explain.set_defaults(command=run_explain)
    explain.add_argument("recipe", metavar="RECIPE", help="a .yaml or .json file")
    add_lab(commands)
    return parser


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoding", help="of a text file (default: found)")
    parser.add_argument("--delimiter", help="of a text file (default: found)")
