//! The store on a real PostgreSQL, started once for all tests of this binary.

mod conformance;
mod schema;
mod server;
