"""What is configured in the cluster engine, and what it says of the pair."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from tests.lab.host import Host
from tests.lab.namespaces import LabError

RESOURCE = "vm"
GUEST = "vm"
MONITOR_S = 5

_COROSYNC = """\
totem {{
  version: 2
  cluster_name: lab
  transport: knet
  crypto_cipher: none
  crypto_hash: none
  token: 3000
}}
nodelist {{
{nodes}}}
quorum {{
  provider: corosync_votequorum
  two_node: 1
}}
system {{
  sched_rr: no
  move_to_root_cgroup: no
}}
resources {{
  watchdog_device: off
}}
logging {{
  to_stderr: yes
  to_syslog: no
  to_logfile: no
  timestamp: hires
}}
"""

_CIB = """\
<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9"
     epoch="1" num_updates="0" admin_epoch="0">
 <configuration>
  <crm_config><cluster_property_set id="options">
   <nvpair id="o1" name="stonith-enabled" value="true"/>
   <nvpair id="o2" name="stonith-timeout" value="30s"/>
   <nvpair id="o3" name="dc-deadtime" value="2s"/>
   <nvpair id="o4" name="priority-fencing-delay" value="2s"/>
  </cluster_property_set></crm_config>
  <nodes>{nodes}</nodes>
  <resources>
   <primitive id="vm" class="ocf" {agent}>
    <instance_attributes id="vm-ia">{parameters}</instance_attributes>
    <meta_attributes id="vm-meta">
     <nvpair id="vm-m1" name="allow-migrate" value="true"/>
     <nvpair id="vm-m2" name="resource-stickiness" value="100"/>
     <nvpair id="vm-m3" name="priority" value="1"/>
    </meta_attributes>
    <operations>
     <op id="vm-mon" name="monitor" interval="{monitor_s}s" timeout="20s"/>
     <op id="vm-start" name="start" interval="0" timeout="40s"/>
     <op id="vm-stop" name="stop" interval="0" timeout="40s"/>
     <op id="vm-mto" name="migrate_to" interval="0" timeout="40s"/>
     <op id="vm-mfrom" name="migrate_from" interval="0" timeout="20s"/>
    </operations>
   </primitive>
   {fencing}
  </resources>
  <constraints>{places}</constraints>
 </configuration>
 <status/>
</cib>
"""

_FENCING = """
   <primitive id="fence-{node}" class="stonith" type="fence_lab">
    <instance_attributes id="fence-{node}-ia">
     <nvpair id="fence-{node}-hl" name="pcmk_host_list" value="{node}"/>
     <nvpair id="fence-{node}-hc" name="pcmk_host_check" value="static-list"/>
     <nvpair id="fence-{node}-so" name="socket" value={socket}/>
    </instance_attributes>
    <operations><op id="fence-{node}-mon" name="monitor" interval="60s" timeout="10s"/></operations>
   </primitive>
"""


class Agent(NamedTuple):
    """A resource agent to run the guest by: a label, its class attributes, its parameters."""

    label: str
    xml: str
    parameters: tuple[tuple[str, str], ...]


def kvmguest(bin_dir: Path, config: Path) -> Agent:
    """Our executables, behind the test bridge."""
    words = (("bin", str(bin_dir)), ("guest", GUEST), ("config", str(config)))
    return Agent("KVMGuest", 'provider="lab" type="kvmguest"', words)


def virtual_domain(config: Path) -> Agent:
    """The agent that Pacemaker's users have."""
    words = (
        ("config", str(config)),
        ("hypervisor", "qemu:///system"),
        ("migration_transport", "tcp"),
        ("migrate_options", "--unsafe"),  # the hosts see the same file, but libvirt does not know
    )
    return Agent("VirtualDomain", 'provider="heartbeat" type="VirtualDomain"', words)


def corosync_conf(hosts: Sequence[Host]) -> str:
    """The configuration of the membership layer, the same on each node."""
    node = "  node {{\n    name: {}\n    nodeid: {}\n    ring0_addr: {}\n  }}\n"
    return _COROSYNC.format(nodes="".join(node.format(h.name, h.number, h.address) for h in hosts))


def cib(hosts: Sequence[Host], agent: Agent, socket: Path) -> str:
    """The configuration of the engine: the guest, and a fencing device for each node.

    The guest is not monitored where it should not run, though Pacemaker can (role="Stopped"): a
    look at the target of a live migration, before the engine has noticed its end, makes Pacemaker
    stop the guest on both nodes and start it anew. Seen.
    """
    return _CIB.format(
        agent=agent.xml,
        monitor_s=MONITOR_S,
        nodes="".join(f'<node id="{h.number}" uname="{h.name}"/>' for h in hosts),
        parameters="".join(
            f'<nvpair id="vm-ia-{name}" name="{name}" value={quoteattr(value)}/>'
            for name, value in agent.parameters
        ),
        fencing="".join(_FENCING.format(node=h.name, socket=quoteattr(str(socket))) for h in hosts),
        places="".join(
            f'<rsc_location id="not-self-{h.name}" rsc="fence-{h.name}" node="{h.name}"'
            ' score="-INFINITY"/>'
            for h in hosts
        ),
    )


class View(NamedTuple):
    """What the engine believes.

    Attributes:
        online: nodes that are members and not unclean.
        active: nodes where it believes the guest to be.
        trouble: what it says is wrong with the guest: "failed", "blocked", a role other than
            Started, an operation under way; empty if nothing.
    """

    online: tuple[str, ...]
    active: tuple[str, ...]
    trouble: str


def view(host: Host) -> View | None:
    """Ask the engine on one node; None where it does not answer."""
    try:
        done = host.run(["crm_mon", "--output-as=xml", "-1"], timeout=10)
    except (LabError, OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    root = ET.fromstring(done.stdout)  # noqa: S314 - crm_mon's, of our own cluster
    online = [
        node.get("name", "")
        for node in root.findall("nodes/node")
        if (node.get("online"), node.get("unclean"), node.get("pending"))
        == ("true", "false", "false")
    ]
    copies = root.findall(f"resources/resource[@id='{RESOURCE}']")
    trouble = [flag for flag in ("failed", "blocked") for c in copies if c.get(flag) == "true"]
    trouble += [str(c.get("pending")) for c in copies if c.get("pending")]
    trouble += [str(c.get("role")) for c in copies if c.get("role") != "Started"]
    active = [node.get("name", "") for c in copies for node in c.findall("node")]
    return View(tuple(sorted(online)), tuple(sorted(active)), " ".join(sorted(set(trouble))))
