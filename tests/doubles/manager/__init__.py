"""A test double of the RHEV-M / oVirt engine's REST API: real HTTPS, engines 3.1 to 4.5.

    with Manager("4.4", hosts=["h1", "h2"], vms=["g1"]) as m:
        ...  # m.url, m.ca_file, m.user_name, m.password
        m.put("g1", "up", host="h1")
        m.host("h1").die()
        m.fault("drip", path="/vms/")
        m.advance(90)
        assert m.vm("g1").status == "unknown"
        assert m.commands == []

Layers: profiles (what differs between releases), model and world (state and what happens by
itself), course, actions, placement, fencing, updates (behaviour), nodes, documents, v3, v4, bodies
(the wire's forms), admission, sso, accounts (who), api and resources (paths), transport (sockets).
"""

from tests.doubles.manager.control import Manager, Recorded
from tests.doubles.manager.elsewhere import ManagerElsewhere
from tests.doubles.manager.faults import Fault
from tests.doubles.manager.model import AffinityGroup, Cluster, Host, Payload, Vm
from tests.doubles.manager.profiles import PROFILES

__all__ = [
    "PROFILES",
    "AffinityGroup",
    "Cluster",
    "Fault",
    "Host",
    "Manager",
    "ManagerElsewhere",
    "Payload",
    "Recorded",
    "Vm",
]
