//! Whatever is done to an entry before the newest checkpoint is found, and the first bad entry is named.

use crate::lab::*;
use proptest::{prelude::*, sample::Index};
use redflag_core::audit::{chain, verify::FaultAt};

fn a_log() -> impl Strategy<Value = Log> {
    prop::collection::vec(1_u64..6, 1..8).prop_map(|mut sizes| {
        // The last block is odd, so a checkpoint stands for every entry.
        sizes.push(3);
        Log::of_blocks(&sizes)
    })
}

/// The lines of entries, with the block and the line each stands in.
fn places(log: &Log) -> Vec<(usize, usize)> {
    log.blocks.iter().enumerate().flat_map(|(block, (_, text))| (1..text.lines().count()).map(move |line| (block, line))).collect()
}

fn edit(log: &mut Log, block: usize, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = log.blocks[block].1.split('\n').map(str::to_owned).collect();
    change(&mut lines);
    log.blocks[block].1 = lines.join("\n");
}

fn first_bad(log: &Log) -> Option<u64> {
    match log.verify() {
        Ok(_) => None,
        Err(fault) => match fault.at {
            FaultAt::Entry(number) => Some(number),
            FaultAt::Checkpoint(number) => panic!("checkpoint {number} is blamed: {fault}"),
        },
    }
}

proptest! {
    #[test]
    fn a_log_as_it_was_written_has_no_fault(log in a_log()) {
        let summary = log.verify().unwrap();
        prop_assert_eq!((summary.entries, summary.covered), (log.entries, log.entries));
        prop_assert_eq!(verify_lines(&log.lines()).unwrap(), summary);
    }

    #[test]
    fn a_flipped_bit_is_found_where_it_is(log in a_log(), entry: Index, byte: Index, bit in 0..7_u32) {
        let places = places(&log);
        let index = entry.index(places.len());
        let (block, line) = places[index];
        let mut bad = log.clone();
        edit(&mut bad, block, |lines| {
            let mut bytes = lines[line].clone().into_bytes();
            let at = byte.index(bytes.len());
            bytes[at] ^= 1 << bit;
            lines[line] = String::from_utf8_lossy(&bytes).into_owned();
        });
        prop_assume!(bad != log);
        prop_assert_eq!(first_bad(&bad), Some(index as u64 + 1));
    }

    #[test]
    fn a_deleted_entry_is_missed(log in a_log(), entry: Index) {
        let places = places(&log);
        let index = entry.index(places.len());
        let (block, line) = places[index];
        let mut bad = log;
        edit(&mut bad, block, |lines| { lines.remove(line); });
        prop_assert_eq!(first_bad(&bad), Some(index as u64 + 1));
    }

    #[test]
    fn a_doubled_entry_is_found(log in a_log(), entry: Index) {
        let places = places(&log);
        let index = entry.index(places.len());
        let (block, line) = places[index];
        let mut bad = log;
        edit(&mut bad, block, |lines| { let copy = lines[line].clone(); lines.insert(line, copy); });
        prop_assert_eq!(first_bad(&bad), Some(index as u64 + 2));
    }

    #[test]
    fn swapped_entries_are_found(log in a_log(), one: Index, other: Index) {
        let places = places(&log);
        let (one, other) = (one.index(places.len()), other.index(places.len()));
        prop_assume!(one != other);
        let line = |(block, line): (usize, usize)| log.blocks[block].1.split('\n').nth(line).unwrap().to_owned();
        let mut bad = log.clone();
        for (at, from) in [(one, other), (other, one)] {
            let (block, place) = places[at];
            edit(&mut bad, block, |lines| lines[place] = line(places[from]));
        }
        prop_assert_eq!(first_bad(&bad), Some(one.min(other) as u64 + 1));
    }

    #[test]
    fn a_log_cut_off_before_its_newest_checkpoint_is_found(log in a_log(), entry: Index) {
        let places = places(&log);
        let index = entry.index(places.len());
        let (block, line) = places[index];
        let mut bad = log;
        edit(&mut bad, block, |lines| lines.truncate(line));
        bad.blocks.truncate(block + 1);
        if line == 1 {
            bad.blocks.truncate(block);
        }
        prop_assert_eq!(first_bad(&bad), Some(index as u64 + 1));
    }

    #[test]
    fn whole_blocks_are_missed_too(log in a_log(), block: Index) {
        let block = block.index(log.blocks.len());
        let first: u64 = log.blocks[block].0.parse().unwrap();
        let mut bad = log;
        bad.blocks.remove(block);
        prop_assert_eq!(first_bad(&bad), Some(first));
    }

    /// Who rewrites an entry and every digest after it is found by the next checkpoint.
    #[test]
    fn a_chain_written_anew_is_found(log in a_log(), entry: Index) {
        let places = places(&log);
        let index = entry.index(places.len());
        let mut place = chain::Place::START;
        let mut bad = log;
        let mut number = 0;
        for (_, text) in &mut bad.blocks {
            let mut block = chain::Block::read(text).unwrap();
            block.before = place;
            for link in &mut block.links {
                number += 1;
                if number == index as u64 + 1 {
                    link.entry.at = at(77_777);
                }
                place = place.after(&link.entry).unwrap();
                link.digest = place.digest;
            }
            *text = block.to_text();
        }
        let named = first_bad(&bad).unwrap();
        prop_assert!(named <= index as u64 + 1, "{named} is behind {}", index + 1);
    }

    #[test]
    fn checkpoints_are_missed_and_their_signatures_count(log in a_log(), index: Index, byte: Index, bit in 0..7_u32) {
        let index = index.index(log.checkpoints.len());
        let blamed = |log: &Log| log.verify().unwrap_err().at;
        let mut without = log.clone();
        without.checkpoints.remove(index);
        if index < without.checkpoints.len() {
            prop_assert_eq!(blamed(&without), FaultAt::Checkpoint(index as u64 + 1));
        }
        let mut flipped = log.clone();
        let mut bytes = flipped.checkpoints[index].clone().into_bytes();
        let at = byte.index(bytes.len());
        bytes[at] ^= 1 << bit;
        flipped.checkpoints[index] = String::from_utf8_lossy(&bytes).into_owned();
        prop_assume!(flipped != log);
        prop_assert_eq!(blamed(&flipped), FaultAt::Checkpoint(index as u64 + 1));
    }
}

#[test]
fn what_no_checkpoint_stands_for_can_be_cut_off_unnoticed() {
    let mut log = Log::of_blocks(&[3, 2]);
    log.blocks.pop();
    let summary = log.verify().unwrap();
    assert_eq!((summary.entries, summary.covered), (3, 3));
}

#[test]
fn a_full_block_of_the_longest_entries_fits_into_a_record() {
    use redflag_core::{
        audit::{
            AuditKind, FactName,
            entry::{By, Note},
        },
        limits,
        names::Text,
    };
    let name = Text::parse(&"\u{1}".repeat(limits::TEXT_BYTES_MAX)).unwrap();
    let longest = |kind| {
        let note = Note::new(kind, By::Operator { name: name.clone() }, at(1));
        FactName::ALL.iter().fold(note, |note, fact| note.with(*fact, "\u{1}".repeat(limits::AUDIT_FACT_BYTES_MAX + 1)))
    };
    let notes = (0..200).map(|number| longest(if number == 0 { AuditKind::LogBegun } else { AuditKind::Halted }));
    let (block, place) = chain::Block::after(chain::Place::START, notes).unwrap().unwrap();
    assert!(block.to_text().len() <= limits::RECORD_BYTES_MAX, "{}", block.to_text().len());
    assert_eq!(place.number, 1);
    let small = (0..200).map(|number| note(number * 6 + 1, place.sealed)).skip(1);
    let (block, _) = chain::Block::after(place, small).unwrap().unwrap();
    assert_eq!(block.links.len(), limits::AUDIT_BLOCK_ENTRIES_MAX);
    assert!(block.to_text().len() <= limits::RECORD_BYTES_MAX, "{}", block.to_text().len());
}
