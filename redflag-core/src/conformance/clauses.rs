//! Which clauses of the contract the kit puts to the proof, and why not the others.

use super::{CHECKS, Check};

/// A clause of the contract that concerns backends.
#[derive(Clone, Debug)]
pub struct Clause {
    /// Its id, for example `B13`.
    pub id: &'static str,
    /// What the kit does about it.
    pub coverage: Coverage,
}

/// What the kit does about a clause.
#[derive(Clone, Debug)]
pub enum Coverage {
    /// These checks cite it; none, when it was forgotten.
    Checked(Vec<Check>),
    /// No check cites it, for this reason.
    Elsewhere(&'static str),
}

/// Clauses the kit must put to the proof.
const CHECKED: &[&str] = &[
    "B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11", "B12", "B13", "B14", "B15", "S1", "S2", "S4", "S6", "S7", "S8",
    "R1", "R1a", "R2", "R3", "R4", "R5", "R6", "Q1", "Q2", "Q3", "Q4", "F1", "F2", "F3", "F4", "D1", "D2", "D3", "D5", "A1", "A2", "C1",
    "C2", "C3", "C4", "C5",
];

/// Clauses no backend can break behind its ports, or none can show there.
const ELSEWHERE: &[(&str, &str)] = &[
    ("S3", "the transition table is core's: a backend never judges an event; tested cell by cell in transition.rs"),
    ("S5", "no unit of work writes a kind of a newer version; core tests how one is read, stores test rows of one in their own tests"),
    ("S9", "versions are compared in core, before a backend sees what follows from it"),
    ("R4a", "limits of the envelope are kept where bytes are read, before a unit of work exists"),
    ("R4b", "the compatible shape is turned into a report by the server, before a unit of work exists"),
    ("D4", "migrations are below the ports; every store tests its own"),
];

/// Every clause that concerns backends, with the checks that cite it or the reason why none does.
#[must_use]
pub fn clauses() -> Vec<Clause> {
    let checked = CHECKED.iter().map(|id| Clause { id, coverage: Coverage::Checked(citing(id)) });
    let elsewhere = ELSEWHERE.iter().map(|(id, reason)| Clause { id, coverage: Coverage::Elsewhere(reason) });
    checked.chain(elsewhere).collect()
}

fn citing(id: &str) -> Vec<Check> {
    CHECKS.iter().filter(|check| check.clauses.contains(&id)).copied().collect()
}
