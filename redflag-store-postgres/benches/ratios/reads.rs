//! Goals of reading: pages, search, counts and statistics of a large fleet.

use crate::{cluster::Cluster, cost::Meter, goals::Goals};

/// Measures them on `cluster` and prints a line each.
pub(crate) async fn run(_cluster: &Cluster, _meter: &mut Meter<'_>, _goals: &mut Goals) {}
