//! The world's own tests: what whole groups do under faults, and that the oracle sees what it is for.

mod batch_counts;
mod churn_reads;
mod determinism;
mod elections;
mod evicted_member_is_out;
mod expiry;
mod late_joiner;
mod one_live_registration;
mod partition;
mod planted_bugs;
mod planted_restarts;
mod planted_successors;
mod repair;
mod restarts;
mod slow_store;
mod store_failure;
mod support;
mod takeovers;
mod trouble;
mod world_seeds;
