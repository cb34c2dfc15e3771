from __future__ import annotations

import re
import textwrap
from pathlib import Path

from kvmguest import options
from tests import readme_tables


def test_the_verdict_tables_of_the_readme_are_the_agents() -> None:
    """python3 -m tests.readme_tables --write mends them."""
    assert readme_tables.in_readme(readme_tables.LIBVIRT) == readme_tables.libvirt_table()
    assert readme_tables.in_readme(readme_tables.RHEV) == readme_tables.rhev_table()


def test_the_table_has_every_exit_code_of_monitor_on_kvm() -> None:
    codes = {line.split("|")[-3].strip() for line in readme_tables.libvirt_table().splitlines()[2:]}
    assert codes == {"99", "100", "102", "103", "104", "105", "110", "200"}


def sample() -> str:
    """The site options that the README shows, comments and all."""
    text = readme_tables.README.read_text(encoding="utf-8")
    found = re.findall(r"(?:^    \[\w+\]\n(?:    .+\n)+)+", text, re.MULTILINE)
    assert len(found) == 1  # in one place, or a section would be pasted twice
    return textwrap.dedent(found[0])


def test_site_options_can_be_pasted_from_the_readme(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text(sample())
    site = options.load({"KVMGUEST_CONF": str(tmp_path / "conf")})
    assert site.complaints == ()
    assert not any(";" in value for value in site if isinstance(value, str))
    assert site.hosts == {"sys1": "kvm1.example.com"}


def test_the_readme_has_every_site_option() -> None:
    shown = set(re.findall(r"^(\w+) =", sample(), re.MULTILINE))
    known = {name.partition("_")[2] for name in options.Options._fields} - {""}
    assert shown - {"sys1"} == known
