"""The disk of an ordinary Python does what every disk must; those of browsers are held to the same in e2e."""

import asyncio

import disk_cases
import pytest

from voxtral.native_files import DirectoryDisk


@pytest.mark.parametrize("name", sorted(disk_cases.CASES))
def test_a_folder_does_what_a_disk_must(tmp_path, name):
    asyncio.run(disk_cases.CASES[name](DirectoryDisk(tmp_path / "models")))
