"""`marathon-node`, the client library of npm."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import live


def test_marathon_node_works(
    client: Callable[[str], Path], engine: live.Engine, tmp_path: Path
) -> None:
    program = Path(__file__).with_name("node_client.js")
    modules = client("node") / "node_modules"
    done = subprocess.run(
        ["node", "--no-deprecation", program, engine.url, engine.token],
        cwd=tmp_path,
        env=os.environ | {"NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    status, message = seen.pop("locked")
    assert status == 409
    assert message.startswith("App is locked by one or more deployments.")
    assert seen == {
        "ping": "pong",
        "name": "marathon",
        "running": 1,
        "selected": ["/a"],
        "twice": [409, "An app with id [/a] already exists."],
        "tasks": 2,
        "instances": 1,
        "versions": 4,
        "group": [["/g/one", 2]],
        "queue": [["/stuck", 1]],
        "gone": [404, "App '/stuck' does not exist"],
    }
