"""What the tests of the data plane stand on: raw backends, raw clients, real worker processes.

Real sockets and real processes, ports chosen by the kernel, deadlines instead of sleeps.
"""
