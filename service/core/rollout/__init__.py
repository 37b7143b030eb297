"""Rollout: change the model versions that all workers on one store serve.

The desired state is one record in the store, and every worker applies it. Each change of the record is one
compare-and-set. Its states, for a change from version A to version B:

      IDLE             1. load here             PREPARING                              DECIDED
    +-----------+      2. announce            +-----------+   4. commit              +-----------+
    | serving A | --------------------------> | serving A | -----------------------> | serving B |
    |           |                             | coming  B |   3. all workers         |           |
    +-----------+ <-------------------------- +-----------+      have loaded B       +-----------+
          ^         withdraw, or abandon                                                   |
          |                                                                                |
          +--------------------------------------------------------------------------------+
                     5. all workers serve B: IDLE again, now with B as the live version

    1. load here     The author loads B itself first, so that a damaged bundle reaches no other worker.
    2. announce      The record names B as coming, with the author and the id of this attempt.
    3. all loaded    Each worker loads B beside A, and reports it in its own status record.
    4. commit        B stays decided even if any worker dies.
    5. all serve     Each worker switches at its next reconciliation, at most 0.1 s later.

    withdraw         By the author: a worker refuses B, or has not loaded it within `load_seconds`.
    abandon          By any worker: the author is dead, or no longer works on this attempt. The author may have lost
                     the store while it announced or withdrew.
    refused          The record has changed since the author read it: another worker decided first.
    unfinished       A worker does not serve B within `switch_seconds`. B stays decided, and the worker switches when
                     it can; the author names it in its response.

Every 0.1 s each worker reconciles, one pass at a time:

    read all records -> restore the rollout record if it was lost -> load what it names, in the background
      -> switch once all serving versions are loaded -> release other engines -> abandon a lost attempt
      -> write its own status -> remove the records of dead workers

A worker is dead when its status record has not changed for 5 s. While the store is unavailable workers keep serving
what they serve, and no worker is counted as dead. See decisions 0064 (two steps), 0065 (watch), 0066 (startup),
0067 (A/B tests) and 0083 (races).

Modules:

    manager          takes the requests
    rollout_steps    runs the five steps
    desired_state    the rollout record
    reconciler       applies the record in one worker
    loaded_engines   holds the engines
    membership       lists the live workers
    startup          chooses the version that a new service serves
"""
