"""Events in, feature values out.

* `events`       the event schema, the append-only log, imports and the simulator
* `decay`        the one update rule, scalar and readable: the oracle of everything below
* `kernel`       the same rule compiled over arrays
* `spec`, `definitions`   what is measured, as data
* `state`        one recipient's state: update, merge, packed bytes
* `batch`, `stream`       states and feature rows from the log, in bulk and event by event
* `assemble`     states to model inputs; the one function that training and serving share
* `feast_*`      the doors to Feast: registry, point-in-time join, online store
"""
