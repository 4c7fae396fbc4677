"""docs/engine.md lists each command of the DC/OS command line that a test tries, and no other."""

import dcos
import test_dcos_apps
import test_dcos_deployments

import live

assert test_dcos_apps
assert test_dcos_deployments  # each fills the list of what is tried


def test_the_table_of_commands_is_that_of_the_tests() -> None:
    page = (live.ROOT / "docs" / "engine.md").read_text()
    table = page[page.index("| `dcos marathon ...` |") :].partition("\n\n")[0]
    rows = []
    for command, (versions, outcome) in dcos.TRIED.items():
        tried = " | ".join("yes" if each in versions else "" for each in dcos.VERSIONS)
        rows.append(f"| `{command}` | {tried} | {outcome} |")
    assert table.splitlines()[2:] == rows
