"""What happened after decisions and promotions: pure functions that judge, none that mends.

* `findings`      what a signal says: fine, notice, alarm, or why it cannot be judged
* `outcomes`      decisions joined with what became of them, at label maturity
* `windows`       windows of equal length before a moment
* `steps`         a share that leaves the course of the windows before
* `drift`         inputs and scores against the champion's reference
* `memory`        which inputs still fill with a young log
* `champions`     one champion under watch: drift, calibration, rhythm
* `labelled`      the rows that a champion is asked about, and those whose labels are mature
* `calibrated`    calibration of the newest mature rows, and the back-test of a retrain
* `label_health`  opens and clicks of machines, too soon after delivery
* `habits`        how well rhythms and tastes of the past tell what people do now
* `ratio`         are there as many of a kind as there should be, asked again and again
* `arms`          sample-ratio mismatch and lift over the holdout
* `exploring`     propensities as logged and as drawn
* `answers`       fallbacks, freshness
* `triggers`      what asks for a retrain
"""
