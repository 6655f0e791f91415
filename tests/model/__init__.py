"""The real worker in a simulated world: dice decide what happens next, and each command must get one result.

What is real. Each worker process runs `worker.stream.group.GroupMembership` with everything below it: sessions,
openings, fences, turns, inboxes, the reader, the emitter, the watch of the topic, `worker.batch` and the rules. A fault
in their order of steps is a fault here. aiokafka's clients, the questions to a cluster, and the store are simulated,
at the names that the worker's modules import (`process.py` lists them).

What is simulated. Commands arrive in the partitions of a topic. Three workers form a group, which gives each partition
to one of them, and to others in each generation. Anything can happen: a worker dies, or freezes while the group gives
its lanes away, wakes up, and goes on with what it was about to do; requests and answers are lost; a request that its
sender has given up arrives late; brokers hang, and result partitions lose their leaders; a coordinator ends
transactions; all workers die, and Kafka forgets the group and its offsets.

What must be true when all is quiet again: each command has exactly one visible result, in the order of the commands,
and the one that the ledger has; A and E are at the end of the log, and never went back; no lane has halted; quotas and
serial numbers are respected, and each passport has one created event.

How it runs. All processes share one event loop with virtual time (`loop.py`), so that seconds cost nothing and a seed
tells the whole schedule. The order of callbacks within a process is asyncio's. Chance comes in where it does in
reality: in how long each request takes (`network.py`), and in faults (`world.py`, `weather.py`). `kafka.py` and
`database.py` are the servers, `clients.py` what aiokafka makes of Kafka. `shortcuts.py` lists what one could do
instead, as replacements in the worker's code, and `test_schedules.py` shows that unsafe ones are caught.
`python -m tests.model only_last_owner` tells the story of a schedule in which that one breaks, event by event.
"""
