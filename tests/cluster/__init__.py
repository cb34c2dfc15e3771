"""A real cluster engine drives the agent: Pacemaker and corosync on a pair of laboratory hosts.

    python3 -m tests.cluster            # every scenario, both agents, prints a Markdown table
    pytest tests/cluster                # the short ones

Pacemaker decides; node/ocf/kvmguest, a test bridge, turns its start, stop, monitor and migrate into
calls of the executables in bin/ with VCS argument lists. The same guest is then run by
ocf:heartbeat:VirtualDomain on the same pair, through the same scenarios. What happened is judged by
an observer that knows neither agent: it sees QEMU processes and what the guest writes to its disk.
"""
