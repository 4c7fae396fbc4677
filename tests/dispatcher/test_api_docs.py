import re

import live
from fob.functions.options import Options

PAGE = (live.ROOT / "docs" / "api.md").read_text()
# errors that end the process, or are handled inside, are never a response
NEVER_ANSWERED = {"bad_setting", "app_exists"}


def test_every_error_code_is_in_the_table():
    sources = [
        path.read_text()
        for path in (live.SERVICE / "fob").rglob("*.py")
        if path.name != "config.py"
        and path.relative_to(live.SERVICE / "fob").parts[0] not in ("engine", "cli", "runner")
    ]
    codes = set(re.findall(r'code ?= ?(?:\d+, )?"([a-z_]+)"', "\n".join(sources)))
    codes |= set(re.findall(r'"(marathon_[a-z]+)"', "\n".join(sources)))
    assert {"empty_body", "too_large", "marathon_unsure", "marathon_forbidden"} <= codes
    table = PAGE.partition("## Errors")[2]
    assert {code for code in codes if f"`{code}`" not in table} <= NEVER_ANSWERED


def test_every_option_is_in_the_table():
    names = [name for name in Options.__dataclass_fields__ if name != "env"]
    assert [name for name in names if f"| `{name}` |" not in PAGE] == []
