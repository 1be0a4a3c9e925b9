//! What a store of files has in addition to the laws of every store, which are in `tests/store_suite/`.

mod batch;
mod claim_order;
mod clocks;
mod damaged_copies;
mod damaged_index;
mod dependencies;
mod example_worker;
mod exclusive;
mod fsck;
mod gc;
mod groups;
mod hostile_store;
mod import;
mod lifecycle;
mod many_keys;
mod transfer;
