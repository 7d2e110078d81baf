//! The store on a real PostgreSQL, started once for all tests of this binary.

mod backup;
mod conformance;
mod contention;
mod encryption;
mod faults;
mod feed;
mod full_report;
mod life;
mod mirror;
mod plans;
mod pooler;
mod promises;
mod schema;
mod server;
