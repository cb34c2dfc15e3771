from __future__ import annotations

from tests import readme_tables


def test_the_verdict_tables_of_the_readme_are_the_agents() -> None:
    """python3 -m tests.readme_tables --write mends them."""
    assert readme_tables.in_readme(readme_tables.LIBVIRT) == readme_tables.libvirt_table()
    assert readme_tables.in_readme(readme_tables.RHEV) == readme_tables.rhev_table()


def test_the_table_has_every_exit_code_of_monitor_on_kvm() -> None:
    codes = {line.split("|")[-3].strip() for line in readme_tables.libvirt_table().splitlines()[2:]}
    assert codes == {"99", "100", "102", "103", "104", "105", "110", "200"}
