"""Prometheus discovers functions with its `marathon_sd_configs` and scrapes them."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

import live

FUNCTION = """
calls = 0

def call_me():
    global calls
    calls += 1
    return f"birds_calls_total {calls}\\n", 200, {}
"""
SETTINGS = """\
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: functions
  marathon_sd_configs:
  - servers: ["{url}"]
    auth_token: "{token}"
    refresh_interval: 200ms
  relabel_configs:
  - {{source_labels: [__meta_marathon_app], target_label: app}}
  - {{source_labels: [__meta_marathon_app_label_FOB_NAME], target_label: name}}
"""


@contextmanager
def prometheus(program: Path, folder: Path, settings: str) -> Iterator[str]:
    """Run a Prometheus with these settings; the context is its address."""
    (folder / "prometheus.yml").write_text(settings)
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": "127.0.0.1:0",
    }
    log = folder / "log"
    with log.open("wb") as file:
        words = [f"--{name}={value}" for name, value in options.items()]
        process = subprocess.Popen([program, *words], cwd=folder, stderr=file)
    try:
        found = live.until(lambda: re.search(r"Listening on.*address=(\S+)", log.read_text()))
        yield f"http://{found[1]}"
    finally:
        process.terminate()
        process.wait(live.PATIENCE_SECONDS)


def answer(url: str, query: str) -> Any:
    """Return the only series of a query; None without one, or while Prometheus starts."""
    found = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=10)
    series = found.json()["data"]["result"] if found.ok else []
    return series[0] if series else None


def test_prometheus_discovers_and_scrapes_a_function(
    client: Callable[[str], Path], dispatcher: live.Dispatcher, tmp_path: Path
) -> None:
    program = client("prometheus") / "usr" / "bin" / "prometheus"
    function = dispatcher.gen(FUNCTION, "?name=birds")
    host, port = dispatcher.meta(function)
    engine = json.loads((dispatcher.home / "engine" / "engine.json").read_text())
    with prometheus(program, tmp_path, SETTINGS.format(**engine)) as url:
        series = live.until(lambda: answer(url, "birds_calls_total"), "a scrape")
    assert series["metric"]["app"] == f"/fob-aviary/{function}"
    assert series["metric"]["name"] == "birds"
    assert series["metric"]["instance"] == f"{host}:{port}"
    assert float(series["value"][1]) >= 1
