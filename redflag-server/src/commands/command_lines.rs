//! Commands as the command line tells of them: lines for people, documents for programs.

use redflag_core::{
    command::{
        payload::Action,
        record::{CommandRecord, Ending},
    },
    names::Text,
};
use redflag_server::second_look::{Difference, SecondLook};
use serde_json::{Value, json};

/// One command in one line: when it was asked for, where it stands, what it does for whom, and its two ids.
pub(super) fn line(agent_name: &Text, record: &CommandRecord) -> String {
    let reason = why(record).map_or_else(String::new, |reason| format!(" ({reason})"));
    let (at, state, agent) = (record.request.at, record.state, record.audience.agent);
    format!("{at}  {state:<18}  {} on {agent_name}{reason}  {agent} {}", what(&record.action), record.id)
}

/// A command with everything that happened to it, as JSON.
pub(super) fn document(agent_name: &Text, record: &CommandRecord) -> serde_json::Result<Value> {
    let mut document = serde_json::to_value(record)?;
    document["agent_name"] = json!(agent_name);
    if let Some(look) = SecondLook::of(record) {
        let excess = look.differences.iter().map(|difference| {
            let Difference { excess, side_effect, allowed, .. } = difference;
            json!({"words": excess.to_string(), "side_effect": side_effect, "allowed": allowed, "difference": excess})
        });
        let excess: Vec<Value> = excess.collect();
        document["plan"] = json!({"plan_digest": look.digest, "excess": excess, "confirmable": look.confirmable()});
    }
    Ok(document)
}

/// A command with everything that happened to it, in lines.
pub(super) fn told(agent_name: &Text, record: &CommandRecord, led_to: &[CommandRecord]) -> String {
    let mut lines = vec![
        format!("{} on {agent_name} ({})", what(&record.action), record.audience.agent),
        format!("id          {}", record.id),
        format!("state       {}{}", record.state, why(record).map_or_else(String::new, |reason| format!(": {reason}"))),
        format!("asked for   {} by {}", record.request.at, record.request.by),
    ];
    lines.extend(record.approvals.iter().map(|approval| format!("approved    {} by {}", approval.at, approval.actor)));
    if record.attempts > 0 {
        lines.push(format!("handed out  {} times", record.attempts));
    }
    lines.extend(record.started_at.map(|at| format!("begun       {at}")));
    lines.push(match &record.end {
        Some(end) => format!("ended       {} by {}", end.at, end.by),
        None => format!("expires     {}", record.expires_at),
    });
    lines.extend(record.follows.map(|before| format!("rests on    {before}")));
    lines.extend(led_to.iter().map(|after| format!("led to      {} ({})", after.id, after.state)));
    lines.extend(record.action.items().iter().map(|item| format!("  {} from {} to {}", item.package, item.from, item.to)));
    if let Some(look) = SecondLook::of(record) {
        lines.extend(plan(&look));
    }
    lines.extend(record.late.iter().map(|end| format!("said after its end, at {}: {}", end.at, claimed(&end.how))));
    lines.extend(printed(record).lines().map(|line| format!("| {}", visible(line))));
    lines.join("\n")
}

fn plan(look: &SecondLook) -> Vec<String> {
    let mut lines = vec![format!("plan        {} of {} packages", look.digest, look.plan.changes.len())];
    lines.extend(look.differences.iter().map(|difference| {
        let allowed = if difference.allowed { " (allowed)" } else { "" };
        format!("! the plan {}{allowed}", difference.excess)
    }));
    lines
}

fn what(action: &Action) -> String {
    match action.items() {
        [] => action.kind().to_string(),
        [item] => format!("{} {}", action.kind(), item.package),
        items => format!("{} {} packages", action.kind(), items.len()),
    }
}

/// Why it came to nothing, without the state that stands before it.
fn why(record: &CommandRecord) -> Option<String> {
    let reason = record.end.as_ref()?.how.reason()?.to_string();
    let rest = reason.strip_prefix(record.state.as_str()).map(|rest| rest.trim_start_matches(": "));
    Some(rest.unwrap_or(&reason).to_owned()).filter(|reason| !reason.is_empty())
}

fn claimed(how: &Ending) -> String {
    how.reason().map_or_else(|| "carried out".to_owned(), |reason| reason.to_string())
}

fn printed(record: &CommandRecord) -> &str {
    match record.end.as_ref().map(|end| &end.how) {
        Some(Ending::Succeeded(success)) => &success.output,
        Some(Ending::Failed(failure)) => &failure.output,
        _ => "",
    }
}

/// A line of a tool without what would steer the terminal it is shown on.
fn visible(line: &str) -> String {
    line.chars().map(|character| if character.is_control() && character != '\t' { '\u{fffd}' } else { character }).collect()
}
