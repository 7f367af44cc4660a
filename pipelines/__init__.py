"""Wiring: each module joins the parts of the packages below into one step; nothing computes here.

* `settings`   what the environment says: where the data lie, the secrets
* `ingest`     a file of events into the event log
* `rejects`    the rows that were not accepted, each with its reason
* `summary`    what an import did, counted and shown
* `cli`        the command `opportune`
"""
