"""KVMGuest: a virtual machine agent for Veritas/InfoScale Cluster Server."""
