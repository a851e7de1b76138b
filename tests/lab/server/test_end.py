"""The command from its start to its end: its address, its silence on secrets, and that nothing is left behind."""

from __future__ import annotations

import http.client
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

ADDRESS = re.compile(r"http://127\.0\.0\.\d:(\d+)/enter\?code=([A-Za-z0-9_-]{43})")


class Lab:
    """`poise lab`, running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.said = process, ""
        self.port, self.code = self.read()

    def read(self) -> tuple[int, str]:
        """Return port and code of the next address that it prints."""
        assert self.process.stdout is not None
        while True:
            ready, _, _ = select.select([self.process.stdout], [], [], 60)
            assert ready, "it said nothing"
            line = self.process.stdout.readline()
            assert line, "it ended"
            self.said += line
            if match := ADDRESS.search(line):
                return int(match[1]), match[2]

    def get(self, path: str, cookie: str = "") -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", path, headers={"Cookie": cookie})
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, (answer.headers["set-cookie"] or "").split(";")[0] or text

    def children(self) -> list[psutil.Process]:
        """Return the nursery and all that it has forked, once there are some."""
        while len(found := psutil.Process(self.process.pid).children(recursive=True)) < 4:
            time.sleep(0.05)
        return found


@contextmanager
def lab(*arguments: str, **options: object) -> Iterator[Lab]:
    command = [sys.executable, "-m", "poise.cli", "lab", "--no-browser", *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, bufsize=1, start_new_session=True, **pipes, **options) as process:  # type: ignore[call-overload]
        try:
            yield Lab(process)
        finally:
            if process.poll() is None:
                process.kill()


def all_ended(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=20)
    return not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def test_ctrl_c_ends_it_and_all_its_processes(tmp_path: Path) -> None:
    with lab(str(tmp_path)) as one:
        status, cookie = one.get(f"/enter?code={one.code}")
        assert status == 303
        assert one.get("/runs", cookie)[0] == 200
        processes = one.children()
        one.process.send_signal(signal.SIGINT)
        out, err = one.process.communicate(timeout=20)
        assert one.process.returncode == 0
        assert err == ""
        assert "Traceback" not in out
        assert all_ended(processes)


def test_ctrl_c_while_it_loads_ends_it() -> None:
    with lab() as one:
        one.process.send_signal(signal.SIGINT)
        _, err = one.process.communicate(timeout=20)
        assert one.process.returncode == 0
        assert err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
def test_a_killed_server_leaves_no_process_behind() -> None:
    with lab() as one:
        processes = one.children()
        one.process.kill()
        one.process.wait(timeout=20)
        assert all_ended(processes)


def test_enter_gives_a_fresh_address() -> None:
    with lab() as one:
        first = one.code
        assert one.process.stdin is not None
        one.process.stdin.write("\n")
        port, second = one.read()
        assert (port, second != first) == (one.port, True)
        assert one.get(f"/enter?code={second}")[0] == 303
        assert one.get(f"/enter?code={first}")[0] == 303


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a second loopback address")
def test_another_address_is_listened_on_with_a_warning_and_the_same_guard() -> None:
    with lab("--host", "127.0.0.2", "--expose") as one:
        assert f"http://127.0.0.2:{one.port}/enter" in one.said
        for host, status in {"127.0.0.2": 303, "127.0.0.1": 403}.items():  # the second time, the code is used up
            with closing(http.client.HTTPConnection(host, one.port, timeout=60)) as asked:
                asked.request("GET", f"/enter?code={one.code}")
                assert asked.getresponse().status == status
        with closing(http.client.HTTPConnection("127.0.0.2", one.port, timeout=60)) as asked:
            asked.request("GET", f"/enter?code={one.code}", headers={"Host": f"127.0.0.3:{one.port}"})
            assert asked.getresponse().status == 403
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.3", one.port), timeout=60)
        one.process.send_signal(signal.SIGINT)
        _, err = one.process.communicate(timeout=20)
        assert err.startswith("warning: the lab listens on 127.0.0.2.")


def test_the_first_page_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    with lab(str(tmp_path)) as one, closing(http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)) as asked:
        asked.request("GET", f"/enter?code={one.code}")
        assert asked.getresponse().headers["location"] == "/runs"


def test_secrets_are_told_in_the_address_only(tmp_path: Path) -> None:
    with lab() as one:
        _, cookie = one.get(f"/enter?code={one.code}")
        one.get("/", cookie)
        one.get(f"/enter?code={one.code}")  # used already
        one.get("/nowhere", cookie)
        with socket.create_connection(("127.0.0.1", one.port), timeout=60) as raw:
            raw.sendall(f"GET /f/{one.code} HTTP/1.1\r\nCookie: {cookie}\1\r\n\r\n".encode())  # no HTTP
            assert raw.recv(20).startswith(b"HTTP/1.1 400")
        secret = cookie.split("=")[1]
        for process in [psutil.Process(one.process.pid), *one.children()]:
            text = " ".join(process.cmdline()) + str(process.environ())
            assert one.code not in text
            assert secret not in text
        one.process.send_signal(signal.SIGINT)
        out, err = one.process.communicate(timeout=20)
        assert one.code not in out + err
        assert secret not in one.said + out + err


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_is_refused_everywhere() -> None:
    with lab() as one:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setuid(65534)
            paths = ("/", "/f/powers", "/runs", "/present", "/static/lab.js", "/ws", "/nowhere", "/enter?code=x")
            answers = {one.get(path)[0] for path in paths}
            os.write(writing, str(sorted(answers)).encode())
            os._exit(0)
        os.close(writing)
        os.waitpid(pid, 0)
        assert os.read(reading, 100) == b"[403]"
        os.close(reading)
        with pytest.raises(PermissionError):  # nor may that user look for the code in the server's memory
            _as_nobody(one.process.pid)


def _as_nobody(pid: int) -> None:
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            Path(f"/proc/{pid}/environ").read_bytes()
        except PermissionError:
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1:
        raise PermissionError
