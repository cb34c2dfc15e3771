"""The backend for guests that RHEV-M or oVirt Engine manages, through its REST API.

Read in this order: ``settings`` (RHEVMInfo, checked), ``transport`` (one HTTPS request with
limits), ``session`` (login once, reuse it in every process), ``wire`` (XML of both API versions),
``inventory`` (which VM, which host is this one), ``backend`` (what the entry points do), ``rescue``
(a VM held by a dead host), ``migration``, ``payload`` (the DROpts CD).
"""
