//! The server: whether it answers over a connection that can be trusted, and whether its clock and ours agree.

use super::Finding;
use crate::{
    clock,
    server::{Server, ServerUrl},
};
use redflag_core::{agent::about, time::Timestamp};
use std::time::Duration;

/// Clocks further apart than this make the server refuse signatures.
const APART_MAX: Duration = Duration::from_mins(5);
/// Clocks further apart than this will soon be too far apart.
const APART_MUCH: Duration = Duration::from_mins(1);

const SERVER: &str = "server";
const CLOCK: &str = "clock";

pub(super) async fn server(url: ServerUrl) -> Vec<Finding> {
    let shown = url.to_string();
    let trusted_by = if url.trusted().is_some() { "this agent was given (--ca)" } else { "this host trusts" };
    let server = match Server::new(url) {
        Ok(server) => server,
        Err(error) => return vec![Finding::problem(SERVER, error.to_string())],
    };
    match server.greet().await {
        Ok(server_time) => {
            let tls = format!("over TLS, with a certificate {trusted_by}");
            let how = if shown.starts_with("https:") { tls } else { "over plain HTTP".to_owned() };
            vec![Finding::ok(SERVER, format!("{shown} answers {how}")), clocks(clock::now(), server_time)]
        }
        Err(error) => vec![Finding::problem(SERVER, error.to_string()).remedy(remedy(&error.to_string()))],
    }
}

fn remedy(message: &str) -> &'static str {
    let message = message.to_lowercase();
    if message.contains("certificate") {
        return "see to it that this host trusts the authority that signed the server's certificate, or enrol again at the same server with \
                --ca FILE; and that its clock is right";
    }
    if message.contains("dns") || message.contains("lookup") {
        return "see to it that this host can resolve the server's name";
    }
    "see to it that the server runs, and that no firewall or proxy stands between"
}

fn clocks(here: Timestamp, there: Option<Timestamp>) -> Finding {
    const REMEDY: &str = "let this host keep its time by NTP (for example with chrony or systemd-timesyncd); see that the server does too";
    let Some(there) = there else {
        return Finding::warning(CLOCK, "the server does not tell its time, so the clocks cannot be compared");
    };
    let (ahead, behind) = (here.since(there), there.since(here));
    let (apart, side) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    let message = format!("this host's clock is {} {side} the server's", about(apart));
    match apart {
        apart if apart > APART_MAX => {
            Finding::problem(CLOCK, format!("{message}, so the server refuses what is signed here")).remedy(REMEDY)
        }
        apart if apart > APART_MUCH => Finding::warning(CLOCK, message).remedy(REMEDY),
        _ => Finding::ok(CLOCK, "this host's clock and the server's agree"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn clocks_are_judged_by_what_the_server_accepts() {
        let here = clock::now();
        let judged = |there| clocks(here, Some(there));
        let seconds = Duration::from_secs;
        assert_eq!(judged(here.saturating_add(seconds(60))).verdict, Verdict::Ok);
        assert_eq!(judged(here.saturating_sub(seconds(61))).verdict, Verdict::Warning);
        let late = judged(here.saturating_add(seconds(301)));
        assert!(late.verdict == Verdict::Problem && late.message.contains("5 min behind the server's"), "{late:?}");
        assert!(judged(here.saturating_sub(seconds(301))).message.contains("5 min ahead of"));
        assert_eq!(clocks(here, None).verdict, Verdict::Warning);
    }

    #[test]
    fn the_remedy_goes_with_the_trouble() {
        assert!(remedy("invalid peer certificate: UnknownIssuer").contains("authority"));
        assert!(remedy("dns error: failed to lookup address information").contains("resolve"));
        assert!(remedy("tcp connect error: connection refused").contains("firewall"));
    }
}
