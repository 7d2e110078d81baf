//! Whether a container that was just started is well: healthy where it has a health check, still up after a while where not.

use crate::engine::{Engine, EngineError, State};
use std::time::{Duration, Instant};

/// How often a container is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long a new container has to prove itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Longest time until a health check says "healthy".
    pub health_time_max: Duration,
    /// How long a container without a health check has to stay up.
    pub steady_time: Duration,
}

/// What one look at a container says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    Well,
    Ill(String),
    /// Up, without a health check.
    Up,
    /// Its health check has not said anything yet.
    Starting,
}

/// Waits until `name` has proved itself.
///
/// # Errors
/// The outer one when the engine cannot be asked; the inner one is why the container is not well.
pub(super) async fn watch(engine: &Engine, name: &str, patience: Patience) -> Result<Result<(), String>, EngineError> {
    let begun = Instant::now();
    loop {
        match look(&engine.container(name).await?.state) {
            Look::Well => return Ok(Ok(())),
            Look::Ill(reason) => return Ok(Err(reason)),
            Look::Up if begun.elapsed() >= patience.steady_time => return Ok(Ok(())),
            Look::Starting if begun.elapsed() >= patience.health_time_max => {
                return Ok(Err(format!("its health check said nothing within {} s", patience.health_time_max.as_secs())));
            }
            Look::Starting if engine.is_podman() => {
                if let Err(error) = engine.check_health(name).await {
                    return Ok(Err(error.to_string()));
                }
            }
            Look::Up | Look::Starting => {}
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn look(state: &State) -> Look {
    if state.restarting || !state.running {
        return Look::Ill(format!("it is {} (exit code {})", state.status, state.exit_code));
    }
    match state.health.as_ref().map(|health| health.status.as_str()) {
        Some("healthy") => Look::Well,
        Some("unhealthy") => Look::Ill("its health check says unhealthy".into()),
        Some("starting") => Look::Starting,
        // Podman says nothing for a container without a check, Docker "none".
        _ => Look::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn look_at(state: serde_json::Value) -> Look {
        look(&serde_json::from_value(state).unwrap())
    }

    #[test]
    fn a_container_is_judged_by_its_health_or_by_being_up() {
        let health = |word: &str| look_at(json!({"Status": "running", "Running": true, "Health": {"Status": word}}));
        assert_eq!((health("healthy"), health("starting"), health(""), health("none")), (Look::Well, Look::Starting, Look::Up, Look::Up));
        assert!(matches!(health("unhealthy"), Look::Ill(_)));
        assert_eq!(look_at(json!({"Status": "running", "Running": true})), Look::Up);
        let exited = look_at(json!({"Status": "exited", "Running": false, "ExitCode": 7, "Health": {"Status": "healthy"}}));
        assert_eq!(exited, Look::Ill("it is exited (exit code 7)".into()));
        assert!(matches!(look_at(json!({"Status": "restarting", "Running": true, "Restarting": true})), Look::Ill(_)));
    }
}
