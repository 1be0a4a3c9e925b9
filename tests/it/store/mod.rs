//! The store through its public interface.

mod batch;
mod claim_order;
mod clocks;
mod damaged_copies;
mod damaged_index;
mod deadlines;
mod dependencies;
mod example_worker;
mod exclusive;
mod fsck;
mod gc;
mod hostile_store;
mod import;
mod lifecycle;
mod many_keys;
mod transfer;
