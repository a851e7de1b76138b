"""`poise lab`: the chapter and one's own runs in the browser."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import sys

from poise.core.errors import ArgumentError, shown

__all__ = ["add_command"]

EXPOSED = """\
warning: the lab listens on {host}. Whoever can reach that address sees it with a code or a cookie, and both cross
         the network unencrypted. Prefer an SSH tunnel: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `poise lab` to the command line."""
    lab = commands.add_parser(
        "lab",
        help="see regularization, and your own runs, in the browser",
        description="Open the chapter and your own runs in the browser. Nothing leaves this machine.",
        allow_abbrev=False,
    )
    lab.set_defaults(command=_lab)
    lab.add_argument(
        "runs",
        metavar="RUNS",
        nargs="?",
        help="a folder of runs, a study's folder, or a log; or `export`: write the chapter to --out as files",
    )
    lab.add_argument("--out", metavar="DIR", help="of `poise lab export`: a new folder for the files")
    lab.add_argument("--port", type=int, default=0, help="(default: a free one)")
    lab.add_argument("--host", metavar="ADDRESS", help="an address of this machine to listen on besides 127.0.0.1")
    lab.add_argument("--expose", action="store_true", help="needed with --host: others can then reach the lab")
    lab.add_argument("--no-browser", action="store_true", help="print the address only")
    lab.add_argument("--figure", metavar="ID", help="open this figure")
    lab.add_argument("--image", metavar="FILE", help="a picture of your own, to see augmented")


def _lab(arguments: argparse.Namespace) -> None:
    if arguments.runs == "export" or arguments.out is not None:
        from poise.lab.export.command import export

        export(arguments.runs, arguments.out, arguments.figure)
        return
    _check(arguments)
    if os.name != "posix":
        raise ArgumentError(
            "`poise lab` needs a system that can fork (Linux, macOS, WSL). Use poise.lab in a notebook."
        )
    from poise.lab.server.lab import Lab
    from poise.lab.server.serve import Server, serve_here

    lab = Lab([] if arguments.runs is None else [arguments.runs], arguments.image)
    try:
        server = Server(lab, arguments.port, arguments.host)
    except BaseException:
        lab.close()
        raise
    if arguments.host is not None:
        sys.stderr.write(EXPOSED.format(host=arguments.host, port=server.port) + "\n")
    target = f"/f/{arguments.figure}" if arguments.figure else "/runs" if arguments.runs is not None else "/"
    serve_here(server, target, browser=not arguments.no_browser)


def _check(arguments: argparse.Namespace) -> None:
    if arguments.runs is not None and not os.path.exists(arguments.runs):
        raise ArgumentError(
            f"`RUNS` must be a folder or file; there is no {shown(arguments.runs, 200)}. Check the path."
        )
    if not 0 <= arguments.port < 65536:
        raise ArgumentError(f"`--port` must be in [0, 65535]; got {arguments.port}. 0 takes a free one.")
    if arguments.figure is not None and not re.fullmatch(r"[a-z0-9_-]{1,64}", arguments.figure):
        raise ArgumentError(f"`--figure` must be a figure's id; got {shown(arguments.figure)}. Such as: poly.")
    if arguments.image is not None and not os.path.isfile(arguments.image):
        named = shown(arguments.image, 200)
        raise ArgumentError(f"`--image` must be a picture; there is no file {named}. Check the path.")
    if arguments.host is not None:
        _check_host(arguments.host, arguments.expose)


def _check_host(host: str, expose: bool) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise ArgumentError(f"`--host` must be an IP address; got {shown(host)}. Such as: 192.168.1.5.") from error
    if address.is_unspecified:
        # The guard compares names exactly: which names would be right for every address of a machine?
        raise ArgumentError(f"`--host` must be one address; got {host}, which means all. Name the one you mean.")
    if not expose:
        raise ArgumentError(f"`--host` must come with --expose; got {shown(host)} alone. Others could reach the lab.")
