//! A stand-in for the executor: keeps a journal as the real one does, and plays what can happen to it.

use crate::{
    desk::{NEXT, SERVER, STRANGER, public},
    support::FakeManager,
};
use redflag_agent::{
    AgentHome,
    commands::inbox::Inbox,
    executor::answer::{Answer, Outcome, Refused},
    install::Installed,
};
use redflag_core::{
    command::{
        payload::{Action, SigningMode},
        plan::{Change, Item, Plan},
        refusal::{CommandRefusal, RefusalCode},
        verify::{Authentic, PinnedKey},
    },
    ids::CommandId,
};
use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

/// What happens to one envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whim {
    /// Refused for this reason, and nothing is done.
    Refuse(RefusalCode),
    /// It dies before it has done anything.
    DieBefore,
    /// It dies when it has done everything, and before it answers.
    DieAfter,
    /// It answers what nobody understands.
    Babble,
    /// It works for ever.
    Hang,
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) whims: VecDeque<Whim>,
    /// Every envelope that came, in order.
    pub(crate) asked: Vec<CommandId>,
    /// What was done, in order.
    pub(crate) done: Vec<CommandId>,
    /// How far the agent had written that each command is, when it was handed over.
    pub(crate) seen: Vec<&'static str>,
    journal: HashMap<CommandId, String>,
}

/// The stand-in; ends with its runtime.
#[derive(Clone, Debug)]
pub(crate) struct StandIn {
    pub(crate) socket: PathBuf,
    apt: FakeManager,
    memory: Arc<Mutex<Memory>>,
}

impl StandIn {
    pub(crate) fn start(directory: &Path, apt: &FakeManager) -> Self {
        let socket = directory.join("executor.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let stand_in = Self { socket, apt: apt.clone(), memory: Arc::default() };
        let serving = stand_in.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        stand_in
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.memory.lock().unwrap())
    }

    pub(crate) fn done(&self) -> Vec<CommandId> {
        self.with(|memory| memory.done.clone())
    }

    async fn serve(&self, mut stream: UnixStream) {
        let mut envelope = Vec::new();
        if stream.read_to_end(&mut envelope).await.is_err() || envelope.is_empty() {
            return;
        }
        let pinned = [SERVER, NEXT, STRANGER].map(|seed| PinnedKey::new(&public(seed), SigningMode::ServerSigns).unwrap());
        let command = Authentic::read(&envelope, &pinned, 1).expect("only commands are handed over").command().clone();
        let home = AgentHome::open(self.socket.with_file_name("state")).unwrap();
        let kept = Inbox::look(&home).unwrap().into_iter().find(|kept| kept.id == command.id);
        let whim = self.with(|memory| {
            memory.seen.push(kept.map_or("nothing", |kept| kept.step.word()));
            memory.asked.push(command.id);
            memory.whims.pop_front()
        });
        let answer = match whim {
            Some(Whim::DieBefore) => return,
            Some(Whim::Hang) => std::future::pending().await,
            Some(Whim::Babble) => "I have a cold".to_owned(),
            Some(Whim::Refuse(code)) => Answer::refused(code, "not now").to_json(),
            Some(Whim::DieAfter) => return drop(self.carry_out(command.id, &command.action)),
            None => self.carry_out(command.id, &command.action),
        };
        // An agent that was stopped in between does not read its answer.
        drop(stream.write_all(answer.as_bytes()).await);
    }

    /// Does it once; what came before is answered as the real one does.
    fn carry_out(&self, id: CommandId, action: &Action) -> String {
        self.with(|memory| {
            if let Some(earlier) = memory.journal.get(&id) {
                let earlier: Answer = serde_json::from_str(earlier).unwrap();
                let refusal = CommandRefusal::new(RefusalCode::Replayed, "its counter was seen");
                let refused = Refused { earlier: Some(Box::new(earlier.outcome)), ..Refused::of(refusal) };
                return Answer { command_id: Some(id), outcome: Outcome::Refused(Box::new(refused)), notes: vec![] }.to_json();
            }
            let outcome = match action {
                Action::Plan { items } => {
                    let plan = Plan::of(items.iter().map(change));
                    Outcome::Planned { plan_digest: plan.digest(), excess: plan.excess(items), plan }
                }
                Action::Install(order) => {
                    let installed: Vec<_> = order.items.iter().map(|item| (item.package.name.as_str(), item.to.as_str())).collect();
                    self.apt.offers(&[], &installed);
                    Outcome::Installed(Installed { reboot_required: Some(false), transaction: None, output: "done\n".into() })
                }
                Action::RefreshMetadata { .. } => Outcome::Refreshed,
                Action::Reboot => Outcome::Rebooting,
                Action::Cancel { .. } => Outcome::Cancelled,
                Action::Recreate(_) | Action::Rescan => panic!("{action:?}"),
            };
            let answer = Answer { command_id: Some(id), outcome, notes: vec![] }.to_json();
            memory.done.push(id);
            memory.journal.insert(id, answer.clone());
            answer
        })
    }
}

pub(crate) fn change(item: &Item) -> Change {
    let Item { package, from, to, origin } = item.clone();
    Change { package, from: Some(from), to: Some(to), origin }
}
