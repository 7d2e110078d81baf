//! What a command says, in lines for a person who is asked to sign it. All of it comes from the bytes that are signed; nothing that a
//! server says about them stands here.

use crate::visible::visible;
use redflag_core::{
    command::{
        payload::{Action, ActionKind, Command, Order, SideEffect},
        plan::Item,
    },
    signing,
};

/// Every line, each harmless on a terminal.
#[must_use]
pub fn lines(command: &Command) -> Vec<String> {
    let Command { id, audience, counter, not_before, expires_at, mode, action, approvals, schema: _ } = command;
    let mut lines = vec![
        title(action),
        format!("  agent      {} with the key {}", audience.agent, signing::fingerprint_of(&audience.key_id)),
        format!("  command    {id}, number {counter} of this agent, {mode}"),
        format!("  valid      from {not_before} until {expires_at}"),
    ];
    lines.extend(approvals.iter().map(|approval| format!("  approved   by {} at {}", visible(approval.actor.as_str()), approval.at)));
    lines.extend(action.items().iter().map(item));
    if let Action::Install(order) | Action::Recreate(order) = action {
        lines.extend(beyond(order));
    }
    lines
}

fn title(action: &Action) -> String {
    let items = action.items().len();
    let packages = format!("{items} package{}", if items == 1 { "" } else { "s" });
    let manager = action.manager().map_or_else(String::new, |manager| format!(" of {}", visible(manager.as_str())));
    match action.kind() {
        ActionKind::Rescan => "SCAN and report".to_owned(),
        ActionKind::RefreshMetadata => format!("REFRESH what the sources offer{manager}"),
        ActionKind::Plan => format!("PLAN {packages}{manager}: says what would change, and changes nothing"),
        ActionKind::Install => format!("INSTALL {packages}{manager}"),
        ActionKind::Recreate => format!("RECREATE {packages}{manager}"),
        ActionKind::Reboot => "RESTART the host".to_owned(),
        ActionKind::Cancel => match action {
            Action::Cancel { command } => format!("DO NOT CARRY OUT the command {command}"),
            _ => "DO NOT CARRY OUT another command".to_owned(),
        },
    }
}

fn item(item: &Item) -> String {
    let Item { package, from, to, origin } = item;
    let arch = package.arch.as_ref().map_or_else(String::new, |arch| format!(" ({})", visible(arch.as_ref())));
    let origin = origin.as_ref().map_or_else(String::new, |origin| format!("  from {}", visible(origin.as_str())));
    format!("  package    {}{arch}  {} -> {}{origin}", visible(package.name.as_str()), visible(from.as_str()), visible(to.as_str()))
}

fn beyond(order: &Order) -> [String; 2] {
    let effect = |effect: &SideEffect| match effect {
        SideEffect::NewPackage => "INSTALL NEW PACKAGES",
        SideEffect::OtherPackage => "CHANGE OTHER PACKAGES",
        SideEffect::Removal => "REMOVE PACKAGES",
    };
    let also: Vec<_> = order.side_effects.iter().map(effect).collect();
    let also = if also.is_empty() { "nothing else may change".to_owned() } else { format!("it may also {}", also.join(", ")) };
    [format!("  beyond     {also}"), format!("  plan       {}", order.plan_digest)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use redflag_core::{
        command::{
            payload::{Audience, CommandApproval, Schema, SigningMode},
            plan::Plan,
        },
        ids::Digest,
        names::{PackageKey, Text, Version},
        time::Timestamp,
    };

    fn command(action: Action, actor: &str) -> Command {
        let at: Timestamp = "2026-11-26T03:00:00Z".parse().unwrap();
        Command {
            schema: Schema,
            id: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4".parse().unwrap(),
            audience: Audience { agent: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap(), key_id: Digest::of("key", &[]) },
            counter: 7,
            not_before: at,
            expires_at: "2026-11-27T03:00:00Z".parse().unwrap(),
            mode: SigningMode::OperatorSigns,
            action,
            approvals: vec![CommandApproval { actor: Text::lossy(actor), at }],
        }
    }

    #[test]
    fn everything_that_is_signed_is_said() {
        let version = |text| Version::parse(text).unwrap();
        let package = PackageKey::parse("apt", "bash", Some("amd64")).unwrap();
        let item = Item { package, from: version("5.1-1"), to: version("5.2-1"), origin: Some(Text::lossy("sid\u{202e}\n")) };
        let effects = [SideEffect::NewPackage, SideEffect::Removal].into();
        let order = Order { items: vec![item], side_effects: effects, plan_digest: Plan::default().digest() };
        let said = lines(&command(Action::Install(order), "ada\u{1b}[2J\nagent x"));
        let fingerprint = signing::fingerprint_of(&Digest::of("key", &[]));
        let expected = [
            "INSTALL 1 package of apt".to_owned(),
            format!("  agent      0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3 with the key {fingerprint}"),
            "  command    0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4, number 7 of this agent, operator-signs".to_owned(),
            "  valid      from 2026-11-26T03:00:00Z until 2026-11-27T03:00:00Z".to_owned(),
            "  approved   by ada⟨U+001B⟩[2J⟨U+000A⟩agent x at 2026-11-26T03:00:00Z".to_owned(),
            "  package    bash (amd64)  5.1-1 -> 5.2-1  from sid⟨U+202E⟩⟨U+000A⟩".to_owned(),
            "  beyond     it may also INSTALL NEW PACKAGES, REMOVE PACKAGES".to_owned(),
            format!("  plan       {}", Plan::default().digest()),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn no_action_looks_like_another() {
        let actions = [
            Action::Rescan,
            Action::RefreshMetadata { manager: "apt".parse().unwrap() },
            Action::Plan { items: Vec::new() },
            Action::Reboot,
            Action::Cancel { command: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2ff".parse().unwrap() },
        ];
        let titles: std::collections::BTreeSet<_> = actions.map(|action| lines(&command(action, "ada"))[0].clone()).into();
        assert_eq!(titles.len(), 5);
        assert!(titles.iter().any(|title| title.contains("0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2ff")));
    }
}
