"""The `marathon` library, whose models reject any key that Marathon does not have."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import live


def test_the_marathon_library_works(
    client: Callable[[str], Path], engine: live.Engine, tmp_path: Path
) -> None:
    program = Path(__file__).with_name("library_client.py")
    python = client("library") / "bin" / "python"
    done = subprocess.run(
        [python, program, engine.url, engine.token],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    events = set(seen.pop("events"))
    assert {"api_post_event", "group_change_success", "status_update_event"} <= events
    assert {"deployment_info", "deployment_step_success", "deployment_success"} <= events
    assert {"deployment_failed", "instance_changed_event"} <= events
    assert seen == {
        "first event": "event_stream_attached",
        "ping": '"pong"',
        "version": "1.5.8",
        "leader": True,
        "app": ["/a", 1, "TASK_RUNNING", {"kind": "x"}],
        "by label": ["/a"],
        "by command": ["/a"],
        "scaled": 3,
        "versions": 3,
        "rolled back": 16,
        "killed with scale": 0,
        "both": ["/a", "/b"],
        "group": {"/g/one": 2, "/g/two": 2},
        "groups": ["/g"],
        "queue": ["/stuck", 1, True],
        "deployment": [["/stuck"], "StartApplication"],
        "gone": "App '/a' does not exist",
    }
