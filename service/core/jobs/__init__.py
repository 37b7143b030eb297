"""Background jobs, which every worker runs beside its requests.

Each job is created without side effects. `start()` runs it in the background, and `await close()` returns when it has
stopped. A job survives an outage of the store: it logs the outage and tries again.

    Maintenance       finishes interrupted user merges, removes expired events
    BackfillJob       recomputes snapshots after a change of model
    StreamConsumer    appends the events of a stream
    CatalogueSync     follows the changes of the catalogue
    CatalogueUpkeep   compacts the catalogue's columns, keeps a snapshot of them
"""
