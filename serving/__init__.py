"""Scores while a mail is rendered; never breaks the mail.

* `settings`, `clock`    what the process is told, and what time it is
* `fallback`             the closed set of reasons why an answer is not the model's
* `asks`                 what is asked of one recipient, and the answer's parts
* `scorer`               states and models to predictions; pure
* `policy`               predictions to one decision: hour, band, ranking, reasons; pure
* `loader`               follows the champions on disk and swaps them warm
* `trial`, `trials`      new bundles are tried in a process of their own
* `follower`             follows MLflow's alias over plain HTTP into the folder on disk
* `shadow`, `divergence` challengers beside the champions, and how far apart they are
* `keys`, `keyring`      API keys in a file, and which of them opens what now
* `buckets`              how many calls a key may still make
* `deadline`             by when a call is answered
* `breaker`, `guard`     a store that fails is left alone until it is back
* `folding`              a long log is folded beside the scoring
* `decision_log`         writes down what was decided, beside the scoring
* `decider`              reads the store, scores, decides
* `links`                links that score without a key, for a while
* `flat`                 an answer on one level, for templates
* `http`                 the only part that answers HTTP
* `client`               the service as a caller has it
"""
