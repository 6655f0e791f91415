"""A small model of how workers answer each command exactly once, whatever breaks. Dice decide what happens next.

What is modelled. Commands wait in three input partitions. Three workers form a group, which gives each partition (a
*lane*) to one of them, and to others in each *generation*. Whoever has a lane decides its next commands in Postgres,
where the results go into a ledger and the lane's position, A, moves on, and publishes these results in Kafka, in a
transaction that also commits the position E up to which results are out. Between the two, anything can happen: a
worker dies, or freezes while the group gives its lanes away, wakes up, and goes on with what it was about to do;
requests and answers are lost; a request that its sender has given up arrives late; a poll waits for a broker that
hangs, and feeds its lane when that was opened anew; all workers die, and Kafka forgets the group and its offsets.

What must be true when all is quiet again: each command has exactly one visible result, in the order of the commands,
and the one that the ledger has; E = A.

How that is reached. All that a worker publishes, it publishes through a *producer* with an id that is never used again.
A lane's row in Postgres lists the ids that may still have something open. To open its lanes, a worker

1. starts its producer,
2. raises each lane's epoch in Postgres, by which all that others still try to decide there is refused, and adds its id
   to the list; the list as it was says whom to fence,
3. fences each of these ids in Kafka: what it left open is aborted, or committed if that was decided, and it is refused
   from then on,
4. makes the list its own id alone, unless somebody has raised the epoch meanwhile: then it has lost the lane,
5. reads E, which can move no more, and then A, and publishes once more what is between them. Then it goes on at A.
   Where Kafka has forgotten E, it is the offset behind the last visible result, once no open transaction hides any.

A poll counts how often its lanes were opened, and feeds those alone that were not opened anew. Postgres takes for a
lane only commands that follow on where the lane stands.

Upon any doubt whether something was published it throws its producer away and opens its lanes again, with a new one.

How to read it: `session.py` is the protocol, line by line, and `reader.py` feeds it; `kafka.py` and `postgres.py` are
what it deals with; `process.py` is the worker around its sessions; `world.py` picks what happens next, from a seed, and
checks.
`variant.py` lists what one could do instead, and `test_schedules.py` shows which of that is unsafe.
`python -m tests.model only_last_owner` tells the story of a schedule in which that one breaks, event by event.
"""
