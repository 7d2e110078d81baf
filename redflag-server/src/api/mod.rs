//! The JSON API: handlers that translate HTTP to one call of the fleet or its store, and back.

use crate::access::PolicyRouter;

/// Registers the API.
pub(crate) fn routes(router: PolicyRouter) -> PolicyRouter {
    router
}
