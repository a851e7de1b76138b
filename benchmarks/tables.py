"""Compare poise with its rivals on twelve tables, each arm with the same clock.

    python benchmarks/tables.py run --arms boosting,realmlp   # resumable: finished cells are skipped
    python benchmarks/tables.py run --smoke                   # seconds; needs scikit-learn and pandas only
    python benchmarks/tables.py report --page                 # prints the tables; writes docs/tables.md and its figures

One cell is a (table, split, arm). Every cell runs in a process of its own and ends as one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from tables_arms import ARMS, PACKAGES, THREADS, UNBUDGETED, load_arm
from tables_data import DATA, OTHERS, ROOT, TWELVE, load_problem, score

RESULTS = ROOT / "benchmarks" / "results" / "tables.jsonl"
OTHER_RESULTS = RESULTS.with_name("tables_others.jsonl")
PAGE = ROOT / "docs" / "tables.md"
MOST_SECONDS = 20 * 60

Record = dict[str, Any]
Key = tuple[str, int, str, float | None]  # table, split, arm, seconds (None: the arm has no budget)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "report", "cell"):
        command = commands.add_parser(name)
        command.add_argument("--seconds", type=float, default=60.0, help="wall clock of one fit (default 60)")
        command.add_argument("--results", type=Path, default=RESULTS)
        command.add_argument("--data", type=Path, default=DATA, help="the folder that holds tables/")
        if name == "cell":
            command.add_argument("table")
            command.add_argument("split", type=int)
            command.add_argument("arm")
            continue
        command.add_argument("--arms", type=names_of(ARMS), default=None, help=f"some of {','.join(ARMS)}")
        if name == "run":
            command.add_argument(
                "--tables",
                type=names_of((*TWELVE, *OTHERS)),
                default=list(TWELVE),
                help=f"some of {','.join(TWELVE)}, and of {','.join(OTHERS)}",
            )
            command.add_argument("--splits", type=int, default=2)
            command.add_argument("--again", action="store_true", help="run finished cells again; the last line counts")
            command.add_argument("--smoke", action="store_true", help="one small table, 3 seconds, the linear arm")
            command.add_argument(
                "--limit", type=float, default=MOST_SECONDS, help="seconds after which a cell is ended"
            )
        else:
            command.add_argument("--page", action="store_true", help=f"also write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    if options.command == "cell":
        print(json.dumps(run_cell(options.data, (options.table, options.split, options.arm, options.seconds))))
    elif options.command == "run":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by a signal."))  # so that the cell is ended too
        run(options)
    else:
        report(options)


def names_of(known: tuple[str, ...]) -> Any:
    """An argparse type: a comma-separated list of known names."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := sorted(set(names) - set(known)):
            raise argparse.ArgumentTypeError(f"must name some of {', '.join(known)}; got {', '.join(unknown)}.")
        return names

    return parse


def report(options: argparse.Namespace) -> None:
    from tables_others import others_section
    from tables_report import draw_figures, write_report

    records = list(read_results(options.results).values())
    others = ""
    if options.results == RESULTS:
        others = others_section(list(read_results(OTHER_RESULTS).values()), options.seconds)
    print(text := write_report(records, options.seconds, options.arms, others))
    if options.page:
        PAGE.write_text(text + "\n", encoding="utf-8")
        for name, figure in draw_figures(records, options.seconds, options.arms).items():
            (PAGE.parent / "images" / name).write_text(figure, encoding="utf-8")


def run(options: argparse.Namespace) -> None:
    """Run the cells that have no line yet, small tables first; an error is a line too, and is tried again next time."""
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            options.smoke, options.results = False, Path(folder) / "smoke.jsonl"
            options.arms, options.tables, options.splits, options.seconds = ["linear"], ["blood_transfusion"], 1, 3.0
            run(options)
            report(argparse.Namespace(results=options.results, seconds=3.0, arms=None, page=False))
            if any(record["status"] != "ok" for record in read_results(options.results).values()):
                sys.exit("The smoke run failed.")
        return
    known = {} if options.again else read_results(options.results)
    finished = {key for key, record in known.items() if record["status"] != "error"}
    for key in cells(options):
        if key in finished:
            continue
        record = run_in_process(options, key)
        append_line(options.results, record)
        outcome = record["scores"] if record["status"] == "ok" else record["error"]
        print(time.strftime("%H:%M:%S"), *key, record["status"], f"{record['total_seconds']:.1f}s", outcome, flush=True)


def cells(options: argparse.Namespace) -> Iterator[Key]:
    for table in sorted(options.tables, key=(*TWELVE, *OTHERS).index):
        for split in range(options.splits):
            for arm in options.arms or [arm for arm in ARMS if arm != "linear"]:
                yield table, split, arm, None if arm in UNBUDGETED else options.seconds


def key_of(record: Record) -> Key:
    return record["table"], record["split"], record["arm"], record["seconds"]


def run_in_process(options: argparse.Namespace, key: Key) -> Record:
    """Run one cell in a fresh process, so that memory, threads and imports are its own; ends it after the limit."""
    table, split, arm, seconds = key
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, __file__, "cell", table, str(split), arm, "--data", str(options.data.resolve())]
    command += ["--seconds", str(options.seconds)]
    load, busy, start = os.getloadavg()[0], busy_seconds(), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:  # libraries leave logs and checkpoints in the working folder
        child = subprocess.Popen(
            command,
            env=os.environ | threads | {"PYTHONPATH": path, "CELL_STARTED": repr(time.time())},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=scratch,
            start_new_session=True,
        )
        try:
            output, errors = child.communicate(timeout=options.limit)
            if child.returncode:
                print(errors, file=sys.stderr, flush=True)
                found: Record = {"status": "error", "error": last_line(errors) or f"exit status {child.returncode}"}
            else:
                found = json.loads(output.splitlines()[-1])
        except subprocess.TimeoutExpired:
            found = {"status": "timeout", "error": f"ended after {options.limit:g} s"}
        finally:
            if child.poll() is None:  # out of time, or this run itself is being ended
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
    total = time.perf_counter() - start
    busy_all = None if busy is None else round((busy_seconds() or 0.0) - busy, 2)
    record = {"table": table, "split": split, "arm": arm, "seconds": seconds, **found}
    record |= {"total_seconds": round(total, 2), "machine_busy_seconds": busy_all, "load_before": load}
    record |= {"finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "revision": revision()}
    return record | {"cores": os.cpu_count(), "python": platform.python_version()}


def last_line(errors: str) -> str:
    """The message of a traceback, without the folders of this machine: the results are part of the repository."""
    message = ([line for line in errors.splitlines() if line.strip()] or [""])[-1]
    for folder in (ROOT, ROOT.parent, Path(sys.prefix)):
        message = message.replace(f"{folder}{os.sep}", "")
    return message[:500]


def run_cell(data: Path, key: Key) -> Record:
    """The work of one cell, in its own process: load, fit (the clock), predict, score."""
    import resource

    table, split, arm, seconds = key
    sys.stdout, output = sys.stderr, sys.stdout  # progress bars and prints of libraries must not reach the record
    problem = load_problem(data, table, split)
    fit = load_arm(arm)
    startup = time.time() - float(os.environ.get("CELL_STARTED", "nan"))
    start, processor = time.perf_counter(), session_seconds()
    predict, notes = fit(problem, float(seconds or 0.0))
    fitted, processor_fitted = time.perf_counter(), session_seconds()
    prediction = predict(problem.test_features)
    predicted = time.perf_counter()
    sys.stdout = output
    return {
        "status": "ok",
        "scores": {name: round(value, 6) for name, value in score(problem, prediction).items()},
        "fit_seconds": round(fitted - start, 3),
        "fit_processor_seconds": round(processor_fitted - processor, 2),
        "predict_seconds": round(predicted - fitted, 3),
        "startup_seconds": round(startup, 3),  # process start, imports and reading the table
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "train_rows": len(problem.train_target),
        "test_rows": len(problem.test_target),
        "notes": notes,
        "versions": {name: metadata.version(name) for name in PACKAGES[arm]},
    }


def read_results(path: Path) -> dict[Key, Record]:
    """The last line of every cell; a line that was cut off is skipped."""
    records: dict[Key, Record] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            records[key_of(record)] = record
    return records


def append_line(path: Path, record: Record) -> None:
    """Append in one write, so that two runs may share the file, and reach the disk before the next cell starts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        cut_off = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (b"\n" if cut_off else b"") + json.dumps(record).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def busy_seconds() -> float | None:
    """Processor seconds that the whole machine has spent so far; None where the kernel does not say."""
    try:
        user, nice, system, _, _, irq, soft = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def session_seconds() -> float:
    """Processor seconds of this process and of all workers that it started; `run_in_process` gave it its session."""
    own, total = os.getsid(0), 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # a process that ended just now
            fields = path.read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == own:
                total += sum(map(int, fields[11:15]))  # user, system, and both of ended children
    return total / os.sysconf("SC_CLK_TCK") if total else sum(os.times()[:4])


def revision() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
