//! The part of the test's server that hands out commands: core's own queue behind it, a key of its own, and faults.

use crate::support::{Answer, Request, TestServer, problem};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};
use redflag_agent::{AgentHome, clock, commands::inbox::Inbox};
use redflag_core::{
    command::{
        delivery::{LeaseAnswer, LeaseBody, LeasedCommand, OutputBody, ResultAnswer, SignerBody, StartAnswer},
        envelope::Envelope,
        payload::{Action, Command, SigningMode},
        record::{Claim, CommandRecord, Terms},
        step::{self, Step, Wanted},
    },
    event::Actor,
    ids::{AgentId, BatchId, CommandId},
    names::Text,
    query::UpdateQuery,
    signing,
    work::Decision,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tokio::sync::Notify;

pub(crate) const SERVER: u8 = 1;
pub(crate) const NEXT: u8 = 2;
pub(crate) const STRANGER: u8 = 7;

/// What happens to one request about a command instead of a good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// It is taken, and its answer lost.
    LoseAnswer,
    /// It is lost before it is taken.
    LoseRequest,
    /// It is refused for good with this status.
    Refuse(u16),
    /// It is never answered.
    Hang,
}

#[derive(Debug, Default)]
pub(crate) struct Papers {
    /// Whose key is announced, and whose signs.
    pub(crate) announced: Option<u8>,
    pub(crate) signing: u8,
    /// Which key is said to follow.
    pub(crate) next: Option<u8>,
    pub(crate) mode: Option<SigningMode>,
    pub(crate) halted: bool,
    /// Changes a command between the queue and its signature.
    pub(crate) forge: Option<fn(&mut Command)>,
    pub(crate) on_lease: VecDeque<Mishap>,
    pub(crate) on_start: VecDeque<Mishap>,
    pub(crate) on_result: VecDeque<Mishap>,
    /// Requests of every kind that arrived.
    pub(crate) requests: u32,
    /// The agent's home, to be looked into at every request about one command.
    pub(crate) watched: Option<AgentHome>,
    /// What was asked, and how far the agent had written that the command is.
    pub(crate) seen: Vec<(String, &'static str)>,
    pub(crate) leases: Vec<LeaseBody>,
    pub(crate) starts: Vec<CommandId>,
    /// Every result that was taken, answered or not.
    pub(crate) results: Vec<(CommandId, Claim)>,
    /// What was printed, in order.
    pub(crate) printed: String,
    /// Told whenever something was printed.
    pub(crate) heard: Arc<Notify>,
}

/// Where commands are handed out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desk(Arc<Mutex<Papers>>);

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn public(seed: u8) -> [u8; 32] {
    key(seed).verifying_key().to_bytes()
}

impl Papers {
    fn look(&mut self, id: &str, what: &str) {
        let Some(home) = &self.watched else { return };
        let kept = Inbox::look(home).unwrap().into_iter().find(|kept| kept.id.to_string() == id);
        self.seen.push((what.to_owned(), kept.map_or("nothing", |kept| kept.step.word())));
    }
}

impl Desk {
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Papers) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// The key that is announced; none on a server that hands out no commands.
    pub(crate) fn signer(&self) -> Option<SignerBody> {
        self.with(|papers| {
            let public_key = public(papers.announced?);
            let mode = papers.mode.unwrap_or(SigningMode::ServerSigns);
            Some(SignerBody { mode, key_id: signing::key_id(&public_key), public_key: STANDARD.encode(public_key) })
        })
    }

    pub(crate) fn sign(&self, record: &CommandRecord) -> LeasedCommand {
        let mut command = record.payload().expect("what was leased has a counter");
        self.with(|papers| {
            if let Some(forge) = papers.forge {
                forge(&mut command);
            }
            let envelope = Envelope::around(&command);
            let signature = key(papers.signing).sign(&envelope.bytes_to_sign()).to_bytes();
            let envelope = envelope.with_signature(signing::key_id(&public(papers.signing)), signature).to_json();
            LeasedCommand { id: record.id, envelope: String::from_utf8(envelope).unwrap() }
        })
    }
}

impl TestServer {
    /// A server that hands out commands.
    pub(crate) async fn commanding() -> Self {
        let server = Self::start().await;
        server.desk.with(|papers| (papers.announced, papers.signing) = (Some(SERVER), SERVER));
        server
    }

    /// Asks for something on the host.
    pub(crate) async fn order(&self, agent: AgentId, action: Action) -> CommandId {
        let command = CommandId::from_uuid(clock::new_uuid()).unwrap();
        let by = Actor::Operator(Text::lossy("ada"));
        let request = step::Request { command, by, wanted: Wanted::Host(action), terms: Terms::default() };
        self.fleet().command(agent, Step::Request(request), clock::now()).await.unwrap();
        command
    }

    /// Approves everything that is open.
    pub(crate) async fn approve_all(&self, agent: AgentId) {
        let page = self.fleet().store().updates(&UpdateQuery::default()).await.unwrap();
        let decisions = page.items.into_iter().map(|row| {
            let offer_digest = row.state.offer.digest(&row.state.package);
            (row.state.package, Decision::Approve { offer_digest, comment: None })
        });
        let batch = BatchId::from_uuid(clock::new_uuid()).unwrap();
        let receipt = self.fleet().decide(agent, batch, Text::lossy("ada"), decisions.collect(), clock::now()).await.unwrap();
        assert!(receipt.rejections().next().is_none(), "{receipt:?}");
    }

    pub(crate) async fn record(&self, agent: AgentId, command: CommandId) -> CommandRecord {
        self.fleet().store().command(agent, command).await.unwrap().expect("the command is known")
    }

    pub(crate) fn results(&self) -> Vec<(CommandId, Claim)> {
        self.desk.with(|papers| papers.results.clone())
    }

    /// Answers a request about commands; none when the answer is lost.
    pub(crate) async fn about_commands(&self, request: &Request) -> Option<Answer> {
        self.desk.with(|papers| papers.requests += 1);
        if self.desk.with(|papers| papers.announced.is_none()) {
            return Some(problem(404, "not_found"));
        }
        let (agent, _) = match self.check(request) {
            Ok(signer) => signer,
            Err(why) => return Some(problem(401, why)),
        };
        let parts: Vec<_> = request.path.trim_start_matches("/api/v1/commands/").split('/').collect();
        if let [id, what] = parts[..] {
            self.desk.with(|papers| papers.look(id, what));
        }
        let mishap = self.desk.with(|papers| match parts[..] {
            ["lease"] => papers.on_lease.pop_front(),
            [_, "start"] => papers.on_start.pop_front(),
            [_, "output"] => None,
            _ => papers.on_result.pop_front(),
        });
        match mishap {
            Some(Mishap::LoseRequest) => return None,
            Some(Mishap::Refuse(status)) => return Some(problem(status, "refused")),
            Some(Mishap::Hang) => std::future::pending().await,
            Some(Mishap::LoseAnswer) | None => {}
        }
        let answer = match parts[..] {
            ["lease"] => self.lease(agent, serde_json::from_slice(&request.body).unwrap()).await,
            [id, "start"] => {
                assert!(request.body.is_empty(), "a start has no body");
                self.start_command(agent, id.parse().unwrap()).await
            }
            [_, "output"] => {
                let OutputBody { offset, text } = serde_json::from_slice(&request.body).unwrap();
                self.desk.with(|papers| {
                    assert_eq!(offset, papers.printed.len() as u64, "parts follow each other");
                    papers.printed += &text;
                    papers.heard.notify_one();
                });
                (204, serde_json::Value::Null)
            }
            [id, "result"] => self.finish(agent, id.parse().unwrap(), serde_json::from_slice(&request.body).unwrap()).await,
            _ => panic!("{}", request.path),
        };
        (mishap != Some(Mishap::LoseAnswer)).then_some(answer)
    }

    async fn lease(&self, agent: AgentId, body: LeaseBody) -> Answer {
        self.desk.with(|papers| papers.leases.push(body));
        let signer = self.desk.signer().unwrap();
        let next_key_id = self.desk.with(|papers| papers.next.map(|seed| signing::key_id(&public(seed))));
        let (mut commands, mut halted) = (Vec::new(), None);
        if self.desk.with(|papers| papers.halted) {
            halted = Some(Text::lossy("the change freeze"));
        } else {
            self.fleet().request_approved(agent, &Terms::default(), clock::now()).await.unwrap();
            let records = self.fleet().command(agent, Step::Lease { limit: body.limit }, clock::now()).await.unwrap();
            commands = records.iter().map(|record| self.desk.sign(record)).collect();
        }
        (200, serde_json::to_value(LeaseAnswer { commands, signer, next_key_id, halted }).unwrap())
    }

    async fn start_command(&self, agent: AgentId, id: CommandId) -> Answer {
        self.desk.with(|papers| papers.starts.push(id));
        if self.desk.with(|papers| papers.halted) {
            return (200, serde_json::to_value(StartAnswer { id, state: self.record(agent, id).await.state }).unwrap());
        }
        let records = self.fleet().command(agent, Step::Start { command: id }, clock::now()).await.unwrap();
        (200, serde_json::to_value(StartAnswer { id, state: records[0].state }).unwrap())
    }

    async fn finish(&self, agent: AgentId, id: CommandId, claim: Claim) -> Answer {
        self.desk.with(|papers| papers.results.push((id, claim.clone())));
        match self.fleet().command(agent, Step::Finish { command: id, claim }, clock::now()).await {
            Ok(records) => (200, serde_json::to_value(ResultAnswer { id, state: records[0].state }).unwrap()),
            Err(error) => panic!("{error}"),
        }
    }
}
