//! placeholder

pub mod scan;
pub mod scan_command;
