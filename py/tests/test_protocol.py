"""The page's protocol table is the worker's, and the page asks for the wheel this project builds."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from voxtral import protocol

ROOT = Path(__file__).resolve().parents[2]


def read_table(name: str) -> dict[str, list[str]]:
    """A table of app/protocol.js, which is written as JSON for this purpose."""
    source = (ROOT / "app" / "protocol.js").read_text(encoding="utf-8")
    match = re.search(rf"^export const {name} = (\{{.*?^\}});$", source, re.MULTILINE | re.DOTALL)
    assert match, f"app/protocol.js has no table {name}"
    table: dict[str, list[str]] = json.loads(match.group(1))
    return table


@pytest.mark.parametrize("name", ["REQUESTS", "EVENTS"])
def test_both_sides_have_the_same_messages_and_fields(name: str) -> None:
    expected = {kind: list(fields) for kind, fields in getattr(protocol, name).items()}
    assert read_table(name) == expected


def test_a_message_is_sent_one_way_only() -> None:
    assert not protocol.REQUESTS.keys() & protocol.EVENTS.keys()


def test_no_field_hides_the_type() -> None:
    for table in (protocol.REQUESTS, protocol.EVENTS):
        assert not [kind for kind, fields in table.items() if "type" in fields]


def test_the_page_loads_the_wheel_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = (ROOT / "app" / "python_worker.js").read_text(encoding="utf-8")
    assert f'"dist/{project["name"]}-{project["version"]}-py3-none-any.whl"' in source
