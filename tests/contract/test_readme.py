from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvmguest import options
from tests import readme_tables


def test_the_verdict_tables_of_the_readme_are_the_agents() -> None:
    """python3 -m tests.readme_tables --write mends them."""
    assert readme_tables.in_readme(readme_tables.LIBVIRT) == readme_tables.libvirt_table()
    assert readme_tables.in_readme(readme_tables.RHEV) == readme_tables.rhev_table()


def test_the_table_has_every_exit_code_of_monitor_on_kvm() -> None:
    codes = {line.split("|")[-3].strip() for line in readme_tables.libvirt_table().splitlines()[2:]}
    assert codes == {"99", "100", "102", "103", "104", "105", "110", "200"}


def samples() -> list[str]:
    """The site options that the README shows, comments and all."""
    blocks: list[list[str]] = []
    is_inside = False
    for line in readme_tables.README.read_text(encoding="utf-8").splitlines():
        word = line.strip()
        if re.fullmatch(r"\[(libvirt|rhev|vcs|hosts)\]", word) and not is_inside:
            blocks.append([])
            is_inside = True
        is_inside = is_inside and word not in {"", "```"}
        if is_inside:
            blocks[-1].append(word)
    return ["\n".join(block) for block in blocks]


def test_the_readme_has_such_samples() -> None:
    assert len(samples()) >= 4


@pytest.mark.parametrize("sample", samples())
def test_site_options_can_be_pasted_from_the_readme(tmp_path: Path, sample: str) -> None:
    (tmp_path / "conf").write_text(sample)
    site = options.load({"KVMGUEST_CONF": str(tmp_path / "conf")})
    assert site.complaints == ()
    assert not any(";" in value for value in site if isinstance(value, str))
    assert not any(";" in name for name in site.hosts.values())
