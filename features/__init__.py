"""Events in, feature values out.

* `events`       the event schema, the append-only log, imports, actors and the simulator
* `decay`        the one update rule, scalar and readable: the oracle of everything below
* `signals`, `kinds`, `spec`, `definitions`   what is measured, as data
* `layout`, `plan`        a view compiled to slots and to index arrays
* `state`, `packing`      one recipient's state: update, merge, bytes
* `block`, `fold`         many states at once, and a batch of events into them
* `kernel`, `batch`       the same rule compiled over a sorted log, read at any moment
* `grouping`, `records`   the log's events put by key, compiled
* `corrections`, `coding` what changes the past: labels found out later, erasures
* `stream`, `bulk_states` online states from the log, batch by batch and all at once
* `online`, `packed*`, `redis_*`   the packed store over SQLite and Redis
* `assemble`     states to model inputs; the one function that training and serving share
* `feast_*`, `spark*`     the doors to Feast and to Spark
"""
