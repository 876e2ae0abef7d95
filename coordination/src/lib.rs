//! ZooKeeper for Otter: documents, watches, leases, the schema registry store.
