"""online of a guest that libvirt does not know: what GuestConfigFilePath may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.agent import Agent
from tests.lab.guest import bare
from tests.lab.host import Host, Lab

pytestmark = pytest.mark.hypervisor

GOOD = bare("web")
ENTITY = "<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/shadow'>]>\n"
DOCUMENTS = {
    "another guest's": (bare("db"), "describes 'db', not the domain 'web'"),
    "a name with a blank": (bare(" web"), "describes ' web', not the domain 'web'"),
    "a name in pieces": (GOOD.replace(">web<", ">web<x/>2<"), "describes 'web2', not the domain"),
    "empty": ("", "no XML document"),
    "cut in the middle": (GOOD[: len(GOOD) // 2], "no XML document"),
    "an entity": (ENTITY + GOOD.replace("<vcpu>", "<title>&x;</title><vcpu>"), "has a DTD"),
    "no domain": ("<network><name>web</name></network>", "describes <network>"),
    "a domain libvirt refuses": (GOOD.replace("hvm", "no such kind"), "virsh define"),
}


@pytest.fixture
def config(lab: Lab) -> Path:
    return lab.shared / "web.xml"


def test_a_guest_is_defined_from_its_file_and_started(
    agent: Agent, host: Host, config: Path
) -> None:
    config.write_text(GOOD)
    online = agent.run("online", "web", GuestConfigFilePath=str(config))
    assert online.code == 5
    assert f"I web: defined from {config}" in online.log
    assert agent.monitor("web") == 110
    agent.run("clean", "web")
    assert host.virsh("list", "--all", "--name") == "web"


@pytest.mark.parametrize("what", DOCUMENTS)
def test_what_is_not_this_guests_document_defines_nothing(
    agent: Agent, host: Host, config: Path, what: str
) -> None:
    document, words = DOCUMENTS[what]
    config.write_text(document)
    online = agent.run("online", "web", GuestConfigFilePath=str(config))
    assert online.code == 0
    assert words in online.log
    assert host.virsh("list", "--all", "--name") == ""
    assert agent.monitor("web") == 100


@pytest.mark.parametrize("path", ["/nonexistent/web.xml", "/etc", "/dev/zero"])
def test_a_path_that_is_no_document(agent: Agent, host: Host, path: str) -> None:
    online = agent.run("online", "web", GuestConfigFilePath=path)
    assert online.code == 0
    assert path in online.log
    assert host.virsh("list", "--all", "--name") == ""


def test_without_a_file_the_administrator_is_told_what_to_do(agent: Agent) -> None:
    online = agent.run("online", "web")
    assert online.code == 0
    assert "define it, or set GuestConfigFilePath" in online.log


def test_another_guests_uuid_is_not_taken_over(agent: Agent, host: Host, config: Path) -> None:
    """https://github.com/ansible-collections/community.libvirt/issues/159: define over a guest."""
    host.define(bare("db", uuid="11111111-2222-3333-4444-555555555555"))
    config.write_text(bare("web", uuid="11111111-2222-3333-4444-555555555555"))
    online = agent.run("online", "web", GuestConfigFilePath=str(config))
    assert online.code == 0
    assert "already defined with uuid" in online.log or "already exists with uuid" in online.log
    assert host.virsh("list", "--all", "--name") == "db"


def test_a_known_guest_is_started_as_libvirt_knows_it(
    agent: Agent, host: Host, config: Path
) -> None:
    host.define(bare("web", memory_mib=80))
    config.write_text(bare("web", memory_mib=96))
    assert agent.run("online", "web", GuestConfigFilePath=str(config)).code == 5
    assert "81920" in host.virsh("dumpxml", "web")
