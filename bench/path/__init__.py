"""The path of one invocation, measured: a whole node in one process, and all that is not Hanabi outside of it.

    python -m bench.path            wall time, and CPU time of the server, for each invocation, beside the bare echo
    python -m bench.path --count    instructions for each invocation (callgrind): the same number on a noisy machine
    python -m bench.path --profile  calls and time for each function of Python

The node is `hanabi.node.serve.serve` itself. Three things are stand-ins: the isolation driver, whose sandboxes have the runtime channel
connected to a socket outside; the images; and, while instructions are counted, the clock.
"""
