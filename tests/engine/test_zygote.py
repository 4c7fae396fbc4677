"""What a forked task could get wrong compared with an executed one, and failures of zygotes."""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import launching
import pytest
from launching import FORKED, Bench, until

import live
from fob.contract import COMMAND, FUNCTION
from fob.engine import programs
from fob.engine.runtime import spares, zygote_launcher
from fob.engine.runtime.launcher import Exit
from fob.engine.runtime.process_launcher import ProcessLauncher, identity
from fob.engine.runtime.zygote_launcher import ZygoteLauncher
from fob.functions import app_definition
from fob.functions.options import Options
from running import PROGRAM

# all that a process can see of how it was started: the same, however it was
ABOUT = """
import atexit, gc, json, locale, os, resource, signal, socket, stat, subprocess, sys, threading
descriptors = {}
for name in sorted(os.listdir("/proc/self/fd"), key=int):
    try:
        descriptors[name] = stat.S_IFMT(os.fstat(int(name)).st_mode), os.get_inheritable(int(name))
    except OSError:  # the one that lists them
        pass
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "descriptors": descriptors,
    "stdin": os.readlink("/proc/self/fd/0"),
    "signals": [str(signal.getsignal(n)) for n in sorted(signal.valid_signals())],
    "masks": [status[name].strip() for name in ("SigBlk", "SigIgn", "SigCgt", "NoNewPrivs")],
    "wakeup": signal.set_wakeup_fd(-1),
    "atexit": atexit._ncallbacks(),
    "threads": [thread.name for thread in threading.enumerate()],
    "native id": threading.main_thread().native_id - os.getpid(),
    "leads": [os.getsid(0) - os.getpid(), os.getpgrp() - os.getpid()],
    "parent": os.getppid(),
    "folder": os.getcwd(),
    "umask": os.umask(0o22),
    "limits": [resource.getrlimit(n) for n in range(16)],
    "nice": os.nice(0),
    "cpus": sorted(os.sched_getaffinity(0)),
    "comm": open("/proc/self/comm").read(),
    "cmdline": open("/proc/self/cmdline").read(),
    "environ": dict(os.environ),
    "environ of a child": subprocess.run(["env", "-0"], capture_output=True)
                            .stdout.decode().split(chr(0)),
    "python": [sys.executable, sys.version, sys.flags, sys.path, sys.argv, sys.orig_argv],
    "gc": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
    "streams": [[s.encoding, s.errors, s.line_buffering, s.name]
                for s in (sys.stdin, sys.stdout, sys.stderr)],
    "locale": locale.setlocale(locale.LC_ALL),
    "timezone": __import__("time").tzname,
    "limit": sys.getrecursionlimit(),
    "names": [__name__, sys.modules["__main__"].__name__],
    "shown": [e for e in open("/proc/self/environ").read().split(chr(0))
              if e and not e.startswith("FOB_FUNCTION")],
}))
"""

Body = Callable[[Bench], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Body], None]:
    return lambda body: launching.run("zygote", tmp_path, body)


async def forked_output(bench: Bench, given: str, **options: Any) -> str:
    how, _, output = (await bench.output_of(f"{FORKED}\n{given}", **options)).partition("\n")
    assert how == "forked"
    return output


def test_a_forked_process_sees_the_same_as_an_executed_one(
    run: Callable[[Body], None], tmp_path: Path
) -> None:
    environment = {"MESOS_TASK_ID": "t.1", "TZ": "Asia/Tokyo", "EMPTY": "", "ODD": "ö=\n"}

    async def body(bench: Bench) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as other:
            passed = {"LISTENER": listener.fileno(), "OTHER": other.fileno()}
            seen = json.loads(await forked_output(bench, ABOUT, passed=passed, **environment))
            assert [seen["environ"][name] for name in passed] == ["3", "4"]
            executing = Bench(ProcessLauncher(), bench.folder)
            expected = json.loads(await executing.output_of(ABOUT, passed=passed, **environment))
        assert without(passed, seen) == without(passed, expected)

    run(body)


def without(passed: dict[str, int], about: dict[str, Any]) -> dict[str, Any]:
    """What was seen, without the numbers of descriptors, which each launcher chooses itself."""
    for name in passed:
        del about["environ"][name]
    about["descriptors"] = list(about["descriptors"].values())
    for key in ("environ of a child", "shown"):
        about[key] = sorted(e for e in about[key] if e.partition("=")[0] not in passed)
    return about


def test_each_process_has_random_numbers_of_its_own(run: Callable[[Body], None]) -> None:
    given = (
        "import os, random, secrets, tempfile, uuid\n"
        "print(random.random(), random.Random().random(), secrets.token_hex(), uuid.uuid4(),\n"
        "      os.urandom(8).hex(), next(tempfile._get_candidate_names()))"
    )

    async def body(bench: Bench) -> None:
        first = (await forked_output(bench, given)).split()
        second = (await forked_output(bench, given)).split()
        assert len(first) == len(second) == 6
        assert not set(first) & set(second)

    run(body)


def test_a_child_of_a_program_that_has_seeded_random_is_seeded_again(
    run: Callable[[Body], None],
) -> None:
    async def body(bench: Bench) -> None:
        bench.program = b"import random\nrandom.seed(1)\n" + launching.PROGRAM
        await bench.until_it_forks()
        given = "import random; print(random.random())"
        assert await forked_output(bench, given) != await forked_output(bench, given)

    run(body)


def test_the_main_thread_can_be_signalled(run: Callable[[Body], None]) -> None:
    given = (
        "import signal, threading\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('got it', flush=True))\n"
        "main = threading.main_thread().ident\n"
        "other = threading.Thread(target=signal.pthread_kill, args=(main, signal.SIGUSR1))\n"
        "other.start(); other.join()"
    )

    async def body(bench: Bench) -> None:
        assert await forked_output(bench, given) == "got it\n"

    run(body)


def test_it_can_fork_and_start_processes_itself(run: Callable[[Body], None]) -> None:
    given = (
        "import os, subprocess\n"
        "if pid := os.fork():\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]),\n"
        "          subprocess.run(['sh', '-c', 'exit 5']).returncode)\n"
        "else: os._exit(4)"
    )

    async def body(bench: Bench) -> None:
        assert await forked_output(bench, given) == "4 5\n"

    run(body)


# tasks that are executed, because they cannot be forked


@pytest.mark.parametrize(
    "variables",
    [
        {"PATH": "/usr/local/bin:/usr/bin:/bin:/opt/python/bin"},
        {"LANG": "C"},
        {"LC_ALL": "C"},
        {"LD_LIBRARY_PATH": "/nowhere"},
        {"MALLOC_ARENA_MAX": "1"},
        {"not.a.name": "1"},
        {"PADDING": "x" * 140_000},
    ],
)
def test_a_task_that_would_start_differently_is_executed(
    run: Callable[[Body], None], variables: dict[str, str]
) -> None:
    async def body(bench: Bench) -> None:
        value = variables.get("PADDING", "")
        several = {f"PADDING{n}": value[n * 70_000 :][:70_000] for n in range(2) if value}
        assert await bench.output_of(FORKED, **(several or variables)) == "executed\n"

    run(body)


def test_a_task_with_an_invalid_value_is_executed(run: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        whole = launching.packed(bench.program, "")
        for value in ("", "é", "AAAA", whole[: len(whole) // 2]):
            bench.start("", FOB_FUNCTION=value)
            assert (await bench.exit()).code == 1
            assert "Traceback" in bench.printed("stderr")

    run(body)


def test_the_commands_of_functions_can_be_forked() -> None:
    id_ = "0e38b688-86e3-4966-9060-cf01eef59426"
    created, settings = "2016-04-02T23:09:47.123Z", app_definition.PlacementSettings()
    assert app_definition.app(id_, b"", Options(), created, settings)["cmd"] == COMMAND


def test_zygote_and_engine_agree_on_what_they_send() -> None:
    source = Path(programs.__file__).with_name("zygote.py").read_text()
    constants = dict(re.findall(r"^([A-Z_]+) = ([^#\n]+)", source, re.MULTILINE))
    assert constants["CONTROL_FD"].strip() == f'"{spares.CONTROL_FD}"'
    assert constants["PROGRAM_FD"].strip() == f'"{spares.PROGRAM_FD}"'
    assert eval(constants["MAX_MESSAGE_BYTES"]) >= zygote_launcher.MAX_MESSAGE_BYTES
    assert '["SNIPPET"]' in source
    assert '"SNIPPET":' in COMMAND


def test_the_zygote_travels_without_its_comments_and_far_below_the_limit(tmp_path: Path) -> None:
    source = Path(programs.__file__).with_name("zygote.py").read_bytes()
    value = ZygoteLauncher(tmp_path)._zygote().environment[FUNCTION]
    assert len(value) < app_definition.ENCODED_BYTES / 8
    sent, nul, snippet = zlib.decompress(base64.b64decode(value)).partition(b"\0")
    assert (nul, snippet) == (b"\0", b"")
    assert not re.search(rb"^ *#", sent, re.MULTILINE)
    # the same program, on the same lines
    assert compile(sent, "zygote", "exec") == compile(source, "zygote", "exec")
    assert len(sent.splitlines()) == len(source.splitlines())


# failures


class Family:
    """The zygote that was started for `folder`, and its spare children."""

    def __init__(self, folder: Path) -> None:
        pids = map(int, filter(str.isdigit, os.listdir("/proc")))
        own = [pid for pid in pids if is_child(pid, folder)]
        self.zygote, *self.spares = sorted(own, key=lambda pid: identity(pid)["started"] or 0)


def is_child(pid: int, folder: Path) -> bool:
    """Whether `pid` is a child of this process in `folder`; other tests have other folders."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        where = Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return False
    return int(stat[1]) == os.getpid() and stat[0] != "Z" and where == folder


async def whole_family(folder: Path) -> Family:
    def found() -> Family | None:
        family = Family(folder)
        return family if len(family.spares) == spares.SPARES else None

    family: Family = await until(found)
    return family


def test_a_zygote_that_dies_is_replaced_and_its_children_run_on(
    run: Callable[[Body], None],
) -> None:
    async def body(bench: Bench) -> None:
        running = bench.start("import time; print(1, flush=True); time.sleep(1000)")
        ended, bench.ended = bench.ended, asyncio.get_running_loop().create_future()
        await until(bench.printed)
        old = Family(bench.folder).zygote
        os.kill(old, signal.SIGKILL)
        await until(lambda: identity(old)["started"] is None)
        await bench.until_it_forks()
        assert not ended.done()
        # its exit status is known, although the zygote that forked it is gone
        running.stop(signal.SIGTERM)
        assert await ended == Exit(signal=15)

    run(body)


def test_a_task_is_executed_while_there_is_no_zygote(
    run: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spares, "BACKOFF_SECONDS", 60.0)

    async def body(bench: Bench) -> None:
        family = await whole_family(bench.folder)
        pids = (family.zygote, *family.spares)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(identity(pid)["started"] for pid in pids))
        assert await bench.output_of(FORKED) == "executed\n"

    run(body)


def test_a_zygote_that_does_not_respond_is_replaced(run: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        family = await whole_family(bench.folder)
        os.kill(family.zygote, signal.SIGSTOP)
        printed = [await bench.output_of(FORKED) for _ in range(spares.SPARES + 1)]
        assert printed == ["forked\n"] * spares.SPARES + ["executed\n"]
        await until(lambda: identity(family.zygote)["started"] is None)
        await bench.until_it_forks()

    run(body)


def test_a_task_is_executed_when_the_spares_have_died(run: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        for pid in (await whole_family(bench.folder)).spares:
            os.kill(pid, signal.SIGKILL)
            # blocks the loop, so that the launcher does not see the exits
            live.until(lambda pid=pid: identity(pid)["started"] is None)
        assert await bench.output_of(FORKED) == "executed\n"
        await bench.until_it_forks()

    run(body)


def test_more_tasks_at_once_than_spares_are_forked(run: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        await whole_family(bench.folder)
        given = "import gc, os; os._exit(40 + bool(gc.get_freeze_count()))"
        ends = []
        for _ in range(3 * spares.SPARES):
            bench.start(given)
            ends.append(bench.ended)
        assert set(await asyncio.gather(*ends)) == {Exit(code=41)}

    run(body)


def test_a_task_whose_program_cannot_be_loaded_is_executed(run: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        bench.program = b"exec(SNIPPET)\n"
        for _ in range(5):
            assert await bench.output_of(FORKED) == "executed\n"

    run(body)


def test_a_child_compiles_with_pythons_own_compile(run: Callable[[Body], None]) -> None:
    program = b"def rehearse():\n    compile('1', 'rehearsed', 'eval', dont_inherit=True)\n\n"

    async def body(bench: Bench) -> None:
        bench.program = program + launching.PROGRAM
        await bench.until_it_forks()
        given = "print('compile' in globals(), eval(compile('2', 'rehearsed', 'eval')))"
        assert await forked_output(bench, given) == "False 2\n"

    run(body)


def test_a_rehearsal_leaves_nothing_behind() -> None:
    code = (
        "import os, sys, threading\n"
        "names = {'__name__': 'runner'}\n"
        "exec(compile(sys.stdin.buffer.read(), 'runner.py', 'exec'), names)\n"
        "def left():\n"
        "    descriptors = sorted(os.listdir('/proc/self/fd'))\n"
        "    return descriptors, threading.active_count(), 'snippet' in sys.modules\n"
        "before = left(); names['rehearse'](); assert left() == before, (before, left())\n"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    subprocess.run(command, input=PROGRAM, check=True, timeout=30)


def test_objects_made_after_gaps_are_filled_lie_side_by_side() -> None:
    code = (
        "from fob.engine.programs import zygote\n"
        "made = [bytes(200 - 33) for _ in range(40)]\n"
        "steps = [id(b) - id(a) for a, b in zip(made, made[1:])]\n"
        "assert steps == [208] * 39, steps\n"
    )
    service = Path(app_definition.__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=30, env={"PYTHONPATH": str(service)}
    )


def test_the_least_recently_used_zygote_is_ended_when_there_are_too_many(
    run: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygote_launcher, "MAX_ZYGOTES", 1)
    monkeypatch.setattr(spares, "SPARES", 1)

    async def body(bench: Bench) -> None:
        first = Family(bench.folder).zygote
        bench.program = b"# another\n" + launching.PROGRAM
        await bench.until_it_forks()
        await until(lambda: identity(first)["started"] is None)

    run(body)


def test_nothing_is_left_of_an_engine_that_is_killed(tmp_path: Path) -> None:
    """The zygote and its spares exit by themselves; a task that runs goes on."""
    script = (
        "import asyncio, os, sys; from pathlib import Path; import launching\n"
        "async def body(bench):\n"
        "    running = bench.start('import time; time.sleep(1000)')\n"
        "    print(running.handle['pid'], flush=True); os.kill(os.getpid(), 9)\n"
        "launching.run('zygote', Path(sys.argv[1]), body)\n"
    )
    here = Path(launching.__file__).parent
    support = Path(live.__file__).parent
    path = os.pathsep.join(map(str, (here, support, live.SERVICE)))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        timeout=30,
    )
    pid = int(done.stdout)
    live.until(lambda: len(live.processes_of(tmp_path)) == 1)
    assert live.processes_of(tmp_path)[0].startswith(f"{pid}:")
    os.kill(pid, signal.SIGKILL)
