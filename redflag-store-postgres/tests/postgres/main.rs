//! The store on a real PostgreSQL, started once for all tests of this binary.

mod conformance;
mod faults;
mod full_report;
mod promises;
mod schema;
mod server;
