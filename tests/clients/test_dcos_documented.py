"""docs/engine.md lists exactly the commands of the DC/OS command line that have a test."""

import dcos
import test_dcos_apps
import test_dcos_deployments

import live

assert test_dcos_apps
assert test_dcos_deployments  # importing them fills the list of tested commands


def test_the_documented_commands_are_the_tested_ones() -> None:
    page = (live.ROOT / "docs" / "engine.md").read_text()
    table = page[page.index("| `dcos marathon ...` |") :].partition("\n\n")[0]
    rows = []
    for command, (versions, outcome) in dcos.TRIED.items():
        tried = " | ".join("yes" if each in versions else "" for each in dcos.VERSIONS)
        rows.append(f"| `{command}` | {tried} | {outcome} |")
    assert table.splitlines()[2:] == rows
