//! A taken server where people sign: the thief has its key, its database with everything that people ever signed, and every wire. None of
//! 100,000 commands made of that starts anything, and each kind of them would if the one check in its way were not there.

#![expect(clippy::print_stdout, reason = "how many of each kind were refused, and why, is read with --nocapture")]

use crate::lab::*;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::Signer as _;
use redflag_agent::{
    clock,
    executor::{Executor, answer::Outcome},
};
use redflag_core::{
    command::{
        envelope::PAYLOAD_TYPE,
        payload::{Command, SigningMode},
        refusal::RefusalCode,
    },
    ids::{CommandId, Digest},
    signing,
};
use std::{collections::BTreeMap, fs, time::Duration};

/// Commands in all.
const FORGED: u64 = 100_000;

const ADA: u8 = 21;
/// Another key of the same person.
const ADA_TOO: u8 = 22;
const GRACE: u8 = 23;
/// Taken out of the policy when its owner lost it.
const REVOKED: u8 = 24;

/// The highest counter that the host has carried out.
const FLOOR: u64 = 500;
/// How long ago, or how soon, what is out of its time was, or will be, in time.
const OFF: Duration = Duration::from_mins(5);

/// What the thief makes, and what would let it through.
struct Kind {
    name: &'static str,
    forge: fn(u64) -> Vec<u8>,
    /// With what it is refused.
    codes: &'static [RefusalCode],
    gap: Gap,
}

/// The hole in the host's defence through which a kind would start something: that it is refused is the merit of that check alone.
enum Gap {
    /// A policy with other lines.
    Policy(fn(String) -> String),
    /// A host that does not know what it has carried out.
    Forgetful,
    /// A host that has carried out so many.
    Counter(u64),
    /// What is altered, as it was before.
    Unaltered(fn(u64) -> Vec<u8>),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_a_thief_of_server_and_database_can_make_starts_anything() {
    let halves = KINDS.chunks(KINDS.len().div_ceil(2)).map(|kinds| tokio::spawn(attack(kinds)));
    let mut refused = 0;
    for half in halves.collect::<Vec<_>>() {
        refused += half.await.unwrap();
    }
    println!("{refused} commands of {} kinds, 0 starts", KINDS.len());
    assert!(refused >= FORGED, "{refused}");
}

/// Hands the commands of these kinds to one host; answers how many.
async fn attack(kinds: &[Kind]) -> u64 {
    let lab = guarded(|policy| policy);
    let mut executor = at_counter(&lab, FLOOR - 1).await;
    let first = executor.run(&genuine(FLOOR, 0)).await;
    assert!(matches!(first.outcome, Outcome::Installed(_)), "{first:?}");
    let before = lab.host().ledger();
    let each = FORGED.div_ceil(KINDS.len() as u64);
    for kind in kinds {
        let mut codes = BTreeMap::<&str, u64>::new();
        for number in 0..each {
            let answer = executor.run(&(kind.forge)(number)).await;
            let Outcome::Refused(refused) = &answer.outcome else { panic!("{}, number {number}: {answer:?}", kind.name) };
            let code = refused.refusal.code;
            assert!(kind.codes.contains(&code), "{}, number {number}: {answer:?}", kind.name);
            *codes.entry(code.as_str()).or_default() += 1;
        }
        println!("{each:>6} {:<60} {codes:?}", kind.name);
    }
    assert_eq!(lab.host().ledger(), before, "0 starts");
    let next = executor.run(&genuine(FLOOR + 1, 1)).await;
    assert!(matches!(next.outcome, Outcome::Installed(_)), "the host still does what two people signed: {next:?}");
    each * kinds.len() as u64
}

#[tokio::test]
async fn each_kind_would_start_something_if_the_check_in_its_way_were_not_there() {
    for Kind { name, forge, gap, .. } in KINDS {
        let lab = match gap {
            Gap::Policy(open) => guarded(*open),
            Gap::Forgetful | Gap::Counter(_) | Gap::Unaltered(_) => guarded(|policy| policy),
        };
        let counter = match gap {
            Gap::Policy(_) | Gap::Unaltered(_) => FLOOR,
            Gap::Forgetful => 0,
            Gap::Counter(counter) => *counter,
        };
        let envelope = if let Gap::Unaltered(original) = gap { original(3) } else { forge(3) };
        let answer = at_counter(&lab, counter).await.run(&envelope).await;
        assert!(matches!(answer.outcome, Outcome::Installed(_)), "{name}: {answer:?}");
        assert_eq!(lab.host().ledger().len(), 1, "{name}");
    }
}

const KINDS: &[Kind] = &[
    Kind {
        name: "signed by the server's key, as if people had",
        forge: |number| of(number).signed(&[SERVER, SERVER]),
        codes: &[RefusalCode::UnknownKey],
        gap: Gap::Policy(|policy| one_is_enough(policy) + &signer("server", SigningMode::OperatorSigns, SERVER)),
    },
    Kind {
        name: "signed by the server's key, as a server's command",
        forge: |number| Order { mode: SigningMode::ServerSigns, ..of(number) }.signed(&[SERVER]),
        codes: &[RefusalCode::UnknownKey],
        gap: Gap::Policy(|policy| one_is_enough(policy) + &signer("server", SigningMode::ServerSigns, SERVER)),
    },
    Kind {
        name: "signed by the server's key beside one person",
        forge: |number| of(number).signed(&[ADA, SERVER]),
        codes: &[RefusalCode::UnknownKey],
        gap: Gap::Policy(|policy| policy + &signer("server", SigningMode::OperatorSigns, SERVER)),
    },
    Kind {
        name: "signed by keys that nobody listed",
        forge: |number| of(number).signed(&[100 + (number % 50) as u8, 150 + (number % 50) as u8]),
        codes: &[RefusalCode::UnknownKey],
        gap: Gap::Policy(|policy| {
            let listed = |seed: u8| signer(&format!("somebody {seed}"), SigningMode::OperatorSigns, seed);
            policy + &listed(103) + &listed(153)
        }),
    },
    Kind {
        name: "signed by a revoked key and one person",
        forge: |number| of(number).signed(&[REVOKED, GRACE]),
        codes: &[RefusalCode::UnknownKey],
        gap: Gap::Policy(|policy| policy + &signer("eve", SigningMode::OperatorSigns, REVOKED)),
    },
    Kind {
        name: "signed by a revoked key beside enough people",
        forge: |number| of(number).signed(&[REVOKED, ADA, GRACE]),
        codes: &[RefusalCode::UnknownKey],
        gap: Gap::Policy(|policy| policy + &signer("eve", SigningMode::OperatorSigns, REVOKED)),
    },
    Kind {
        name: "signed by nobody",
        forge: |number| of(number).signed(&[]),
        codes: &[RefusalCode::TooFewSignatures],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "half signed, by one of two people",
        forge: |number| of(number).signed(&[if number % 2 == 0 { ADA } else { GRACE }]),
        codes: &[RefusalCode::TooFewSignatures],
        gap: Gap::Policy(one_is_enough),
    },
    Kind {
        name: "signed with two keys of one person",
        forge: |number| of(number).signed(&[ADA, ADA_TOO]),
        codes: &[RefusalCode::TooFewSignatures],
        gap: Gap::Policy(|policy| policy.replacen("name = \"ada\"", "name = \"ada's twin\"", 1)),
    },
    Kind {
        name: "one signature said to be of two keys",
        forge: |number| of(number).envelope().claimed(ADA, GRACE).json(),
        codes: &[RefusalCode::BadSignature],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "one signature twice",
        forge: |number| of(number).envelope().by(ADA).by(ADA).json(),
        codes: &[RefusalCode::Malformed],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "signatures of another command of the same people",
        forge: |number| {
            let (mut order, other) = (of(number).envelope(), of(number + 1).envelope().by(ADA).by(GRACE));
            order.signatures = other.signatures;
            order.json()
        },
        codes: &[RefusalCode::BadSignature],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "signatures swapped between two people",
        forge: |number| {
            let mut order = of(number).envelope().by(ADA).by(GRACE);
            let first = order.signatures[0].1;
            order.signatures[0].1 = order.signatures[1].1;
            order.signatures[1].1 = first;
            order.json()
        },
        codes: &[RefusalCode::BadSignature],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "a bit of a signature flipped",
        forge: |number| {
            let mut order = of(number).envelope().by(ADA).by(GRACE);
            order.signatures[(number % 2) as usize].1[(number / 8 % 64) as usize] ^= 1 << (number % 8);
            order.json()
        },
        codes: &[RefusalCode::BadSignature],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "a bit of the payload flipped",
        forge: |number| {
            let mut order = of(number).envelope().by(ADA).by(GRACE);
            let at = (number as usize).wrapping_mul(2_654_435_761) % order.payload.len();
            order.payload[at] ^= 1 << (number % 8);
            order.json()
        },
        codes: &[RefusalCode::BadSignature],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "a byte of the envelope altered, lost or added",
        forge: |number| {
            let mut bytes = genuine(FLOOR + 1, number);
            let at = (number as usize).wrapping_mul(2_654_435_761) % bytes.len();
            match number % 3 {
                0 => bytes[at] ^= 1,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b' '),
            }
            bytes
        },
        codes: &[RefusalCode::Malformed, RefusalCode::WrongPayloadType, RefusalCode::UnknownKey, RefusalCode::BadSignature],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "a command carried out before, with other words",
        forge: |number| {
            let mut order = Order { counter: FLOOR, ..of(0) }.envelope().by(ADA).by(GRACE);
            let text = String::from_utf8(order.payload).unwrap();
            let counter = format!("\"counter\":{FLOOR}");
            order.payload = match number % 3 {
                0 => text.replace(&counter, &format!("\"counter\":{}", FLOOR + 1 + number % 900)),
                1 => text.replace("\"to\":\"2.0-1\"", &format!("\"to\":\"2.{number}-1\"")),
                _ => text.replace("package-0", &format!("package-{number}x")),
            }
            .into_bytes();
            order.json()
        },
        codes: &[RefusalCode::BadSignature],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "carried out before, once more",
        forge: |_| genuine(FLOOR, 0),
        codes: &[RefusalCode::Replayed],
        gap: Gap::Counter(FLOOR - 1),
    },
    Kind {
        name: "kept back, and handed over after later ones",
        forge: |number| genuine(1 + number % (FLOOR - 1), number),
        codes: &[RefusalCode::Replayed],
        gap: Gap::Forgetful,
    },
    Kind {
        name: "of a counter that is far ahead",
        forge: |number| genuine(FLOOR + 1_002 + number, number),
        codes: &[RefusalCode::CounterJump],
        gap: Gap::Counter(FLOOR + 1_000),
    },
    Kind {
        name: "for another host",
        forge: |number| Order { agent: OTHER_AGENT, ..of(number) }.signed(&[ADA, GRACE]),
        codes: &[RefusalCode::WrongAudience],
        gap: Gap::Policy(|policy| policy.replace(&audience().agent.to_string(), OTHER_AGENT)),
    },
    Kind {
        name: "for this host before it was enrolled anew",
        forge: |number| Order { agent_key: STRANGER, ..of(number) }.signed(&[ADA, GRACE]),
        codes: &[RefusalCode::WrongAgentKey],
        gap: Gap::Policy(|policy| policy.replace(&audience().key_id.to_string(), &signing::key_id(&public(STRANGER)).to_string())),
    },
    Kind {
        name: "expired",
        forge: |number| Order { when: When::Past, ..of(number) }.signed(&[ADA, GRACE]),
        codes: &[RefusalCode::Expired],
        gap: Gap::Policy(|policy| policy + "[limits]\nclock_tolerance_seconds = 600\n"),
    },
    Kind {
        name: "before its time",
        forge: |number| Order { when: When::Future, ..of(number) }.signed(&[ADA, GRACE]),
        codes: &[RefusalCode::NotYetValid],
        gap: Gap::Policy(|policy| policy + "[limits]\nclock_tolerance_seconds = 600\n"),
    },
    Kind {
        name: "something else that people signed, said to be a command",
        forge: |number| {
            let mut other = of(number).envelope();
            other.payload_type = "application/vnd.redflag.checkpoint.v1+json".to_owned();
            let mut other = other.by(ADA).by(GRACE);
            if number % 2 == 0 {
                other.payload_type = PAYLOAD_TYPE.to_owned();
            }
            other.json()
        },
        codes: &[RefusalCode::BadSignature, RefusalCode::WrongPayloadType],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "signed by people as a server's command",
        forge: |number| Order { mode: SigningMode::ServerSigns, ..of(number) }.signed(&[ADA, GRACE]),
        codes: &[RefusalCode::WrongMode],
        gap: Gap::Policy(|policy| policy.replace("operator-signs", "server-signs")),
    },
    Kind {
        name: "two readings of one payload, signed by people who saw one",
        forge: |number| {
            let mut order = of(number).envelope();
            let text = String::from_utf8(order.payload).unwrap();
            order.payload = match number % 4 {
                0 => text.replacen("\"to\":\"2.0-1\"", "\"to\":\"1.5-1\",\"to\":\"2.0-1\"", 1),
                1 => text.replacen("{\"action\":", "{ \"action\":", 1),
                2 => text.replacen(",\"schema\":1", "", 1).replacen('{', "{\"schema\":1,", 1),
                _ => text.replacen("\"schema\":1", "\"schema\":1,\"shell\":\"reboot\"", 1),
            }
            .into_bytes();
            order.by(ADA).by(GRACE).json()
        },
        codes: &[RefusalCode::Malformed],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "two readings of one envelope",
        forge: |number| {
            let text = String::from_utf8(genuine(FLOOR + 1, number)).unwrap();
            match number % 4 {
                0 => text.replacen('{', "{\"payload\":\"e30=\",", 1),
                1 => text.replacen("\"payloadType\":", "\"payloadType\": ", 1),
                2 => format!("{text}\n"),
                _ => text.replacen("\"signatures\":[", "\"signatures\":[],\"signatures\":[", 1),
            }
            .into_bytes()
        },
        codes: &[RefusalCode::Malformed],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
    Kind {
        name: "of a later version, or an action nobody knows",
        forge: |number| {
            let mut order = of(number).envelope();
            let text = String::from_utf8(order.payload).unwrap();
            order.payload = match number % 2 {
                0 => text.replace("\"schema\":1", "\"schema\":2"),
                _ => text.replace("\"kind\":\"install\"", "\"kind\":\"shell\""),
            }
            .into_bytes();
            order.by(ADA).by(GRACE).json()
        },
        codes: &[RefusalCode::UnsupportedSchema, RefusalCode::UnknownAction],
        gap: Gap::Unaltered(|number| genuine(FLOOR + 1, number)),
    },
];

const OTHER_AGENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2ff";

/// A host that obeys two of its people and no server, with `change`d policy.
fn guarded(change: fn(String) -> String) -> Lab {
    let lab = Lab::new();
    let people = [("ada", ADA), ("ada", ADA_TOO), ("grace", GRACE)];
    let signers: String = people.iter().map(|(name, seed)| signer(name, SigningMode::OperatorSigns, *seed)).collect();
    lab.write_policy(|policy| {
        let server = policy.find("[[signer]]").unwrap()..policy.find("[allow]").unwrap();
        let mut policy = policy;
        policy.replace_range(server, "");
        change(format!("{policy}{signers}\n[require]\nsignatures = 2\n"))
    });
    lab
}

fn signer(name: &str, mode: SigningMode, seed: u8) -> String {
    format!("\n[[signer]]\nname = {name:?}\nmode = \"{mode}\"\npublic_key = \"{}\"\n", Digest::from_bytes(public(seed)))
}

fn one_is_enough(policy: String) -> String {
    policy.replace("signatures = 2", "signatures = 1")
}

/// The host's executor, which has carried out commands up to `counter`.
async fn at_counter(lab: &Lab, counter: u64) -> Executor {
    drop(lab.open().await.unwrap());
    fs::write(lab.state("counter.json"), format!("{{\"counter\": {counter}}}")).unwrap();
    lab.open().await.unwrap()
}

/// What is ordered: all as it should be, unless a kind says otherwise.
struct Order {
    number: u64,
    counter: u64,
    agent: &'static str,
    agent_key: u8,
    mode: SigningMode,
    when: When,
}

enum When {
    Past,
    Now,
    Future,
}

fn of(number: u64) -> Order {
    let agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
    Order { number, counter: FLOOR + 1, agent, agent_key: AGENT, mode: SigningMode::OperatorSigns, when: When::Now }
}

/// What two people signed.
fn genuine(counter: u64, number: u64) -> Vec<u8> {
    Order { counter, ..of(number) }.signed(&[ADA, GRACE])
}

impl Order {
    fn command(&self) -> Command {
        let name = format!("package-{}", self.number);
        let mut command = install(self.counter, &[&name]);
        let now = clock::now();
        command.id = CommandId::from_uuid(clock::new_uuid()).unwrap();
        command.audience.agent = self.agent.parse().unwrap();
        command.audience.key_id = signing::key_id(&public(self.agent_key));
        command.mode = self.mode;
        (command.not_before, command.expires_at) = match self.when {
            When::Past => (now.saturating_sub(2 * OFF), now.saturating_sub(OFF)),
            When::Now => (now.saturating_sub(OFF), now.saturating_add(OFF)),
            When::Future => (now.saturating_add(OFF), now.saturating_add(2 * OFF)),
        };
        command
    }

    fn envelope(&self) -> Forged {
        Forged { payload: self.command().to_bytes(), payload_type: PAYLOAD_TYPE.to_owned(), signatures: Vec::new() }
    }

    fn signed(&self, seeds: &[u8]) -> Vec<u8> {
        let mut seeds = seeds.to_vec();
        seeds.dedup();
        seeds.into_iter().fold(self.envelope(), Forged::by).json()
    }
}

/// An envelope that may be anything: the checks of our own types do not stand in between.
struct Forged {
    payload: Vec<u8>,
    payload_type: String,
    signatures: Vec<(Digest, [u8; 64])>,
}

impl Forged {
    /// The same with a signature of this key.
    fn by(self, seed: u8) -> Self {
        let signature = self.signature(seed);
        self.with(seed, signature)
    }

    /// The same with the signature of one key, said to be this one's and another one's.
    fn claimed(self, seed: u8, other: u8) -> Self {
        let signature = self.signature(seed);
        self.with(seed, signature).with(other, signature)
    }

    fn signature(&self, seed: u8) -> [u8; 64] {
        let (kind, payload) = (&self.payload_type, &self.payload);
        let bytes = [format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(), payload].concat();
        key(seed).sign(&bytes).to_bytes()
    }

    fn with(mut self, seed: u8, signature: [u8; 64]) -> Self {
        self.signatures.push((signing::key_id(&public(seed)), signature));
        self.signatures.sort_by_key(|(key_id, _)| *key_id);
        self
    }

    fn json(&self) -> Vec<u8> {
        let signature = |(id, sig): &(Digest, [u8; 64])| format!("{{\"keyid\":\"{id}\",\"sig\":\"{}\"}}", STANDARD.encode(sig));
        let signatures: Vec<_> = self.signatures.iter().map(signature).collect();
        let (payload, kind) = (STANDARD.encode(&self.payload), &self.payload_type);
        format!(r#"{{"payload":"{payload}","payloadType":"{kind}","signatures":[{}]}}"#, signatures.join(",")).into_bytes()
    }
}
