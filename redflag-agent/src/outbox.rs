//! The outbox: reports that are made and not yet taken by the server, safe against crashes and power cuts.
//!
//! Reports lie in append-only segment files ([`segment`]). [`Outbox::push`] returns after the record is on disk; a report leaves
//! by a second record that names it, written once the server has answered for it. Lost such a record only sends the report
//! again, which is harmless (clause R1a). What cannot be trusted after a crash is moved to `quarantine/`, loudly, and the rest
//! is delivered.

use crate::{
    durable,
    error::{Error, Result},
    home::AgentHome,
    quarantine::Quarantine,
    segment::{
        self,
        file::{SegmentFile, numbered},
    },
};
use redflag_core::{ids::ReportId, limits};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, path::PathBuf};

/// Most reports that wait; one more makes them be superseded by one full report.
pub const REPORTS_MAX: usize = 96;
/// Most bytes that wait; beyond them the waiting reports are superseded by one full report.
pub const BYTES_MAX: u64 = 2 * limits::REPORT_BYTES_MAX as u64;
/// From this size on, a segment is followed by a new one, so that drained ones can be removed.
const SEGMENT_BYTES: u64 = 1024 * 1024;

const PUT: u8 = 1;
const DONE: u8 = 2;
const ID_BYTES: usize = 16;

/// The waiting reports of one agent, oldest first.
#[derive(Debug)]
pub struct Outbox {
    directory: PathBuf,
    quarantine: Quarantine,
    /// The last one is written to.
    segments: VecDeque<SegmentFile>,
    waiting: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    report_id: ReportId,
    segment: u64,
    offset: u64,
    bytes: u64,
}

/// A report as it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its id.
    pub report_id: ReportId,
    /// The bytes to send.
    pub body: Vec<u8>,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// Reports.
    pub reports: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl Outbox {
    /// Opens the outbox of `home`, moving what is damaged to the quarantine. The second value tells of each such move.
    ///
    /// # Errors
    /// When files cannot be read, written or synced. Damaged content is not an error.
    pub fn open(home: &AgentHome) -> Result<(Self, Vec<String>)> {
        let (directory, quarantine) = (home.directory("outbox")?, Quarantine::of(home)?);
        let mut outbox = Self { directory, quarantine, segments: VecDeque::new(), waiting: VecDeque::new() };
        let mut found = Vec::new();
        for (number, path) in numbered(&outbox.directory)? {
            let (segment, recovered) = SegmentFile::open(number, &path, &outbox.quarantine)?;
            replay(&recovered.bytes, &recovered.content, number, &mut outbox.waiting);
            found.extend(recovered.damage);
            outbox.segments.push_back(segment);
        }
        if outbox.segments.is_empty() {
            outbox.start_segment()?;
        }
        outbox.remove_drained()?;
        Ok((outbox, found))
    }

    /// How much waits in the outbox of `home`, without touching it.
    ///
    /// # Errors
    /// When files cannot be read.
    pub fn depth_of(home: &AgentHome) -> Result<Depth> {
        Self::inspect(home).map(|(depth, _)| depth)
    }

    /// How much waits in the outbox of `home`, and what is damaged, without touching it. A record that is being written at this very
    /// moment looks like a torn one.
    ///
    /// # Errors
    /// When files cannot be read.
    pub fn inspect(home: &AgentHome) -> Result<(Depth, Vec<String>)> {
        let (mut waiting, mut found) = (VecDeque::new(), Vec::new());
        let directory = home.file("outbox");
        if directory.is_dir() {
            for (number, path) in numbered(&directory)? {
                let bytes = std::fs::read(&path).map_err(Error::state("read", &path))?;
                let recovered = segment::recover(&bytes);
                found.extend(recovered.damage.map(|damage| format!("{}: {damage}", path.display())));
                replay(&bytes, &recovered, number, &mut waiting);
            }
        }
        Ok((depth(&waiting), found))
    }

    /// How much waits.
    #[must_use]
    pub fn depth(&self) -> Depth {
        depth(&self.waiting)
    }

    /// Whether a report of `bytes` more would exceed [`REPORTS_MAX`] or [`BYTES_MAX`].
    #[must_use]
    pub fn overflows_with(&self, bytes: usize) -> bool {
        self.waiting.len() >= REPORTS_MAX || (!self.waiting.is_empty() && self.depth().bytes + bytes as u64 > BYTES_MAX)
    }

    /// Whether a sync has failed, after which only a restart can tell what is on disk.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.segments.iter().any(SegmentFile::broken)
    }

    /// Adds a report; it is on disk when this returns.
    ///
    /// # Errors
    /// When it could not be made durable; it is not in the outbox then.
    pub fn push(&mut self, report: &Waiting) -> Result<()> {
        let payload = [&[PUT], report.report_id.as_uuid().as_bytes().as_slice(), &report.body].concat();
        let offset = self.append(&payload)?;
        let segment = self.segments.back().expect("an open outbox has a segment").number();
        self.waiting.push_back(Entry { report_id: report.report_id, segment, offset, bytes: report.body.len() as u64 });
        Ok(())
    }

    /// The oldest waiting report.
    ///
    /// # Errors
    /// When it cannot be read back, or is not what was written.
    pub fn first(&self) -> Result<Option<Waiting>> {
        self.waiting.front().map(|entry| self.read(entry)).transpose()
    }

    /// Every waiting report, oldest first.
    ///
    /// # Errors
    /// As [`Outbox::first`].
    pub fn waiting(&self) -> impl Iterator<Item = Result<Waiting>> {
        self.waiting.iter().map(|entry| self.read(entry))
    }

    /// Drops a report: the server has answered for it.
    ///
    /// # Errors
    /// When that could not be made durable; the report is still there then.
    pub fn remove(&mut self, report_id: ReportId) -> Result<()> {
        let payload = [&[DONE], report_id.as_uuid().as_bytes().as_slice()].concat();
        self.append(&payload)?;
        self.waiting.retain(|entry| entry.report_id != report_id);
        self.remove_drained()
    }

    /// Moves a report that the server refuses for good to the quarantine, with `reason`.
    ///
    /// # Errors
    /// When files cannot be written; the report is still in the outbox then.
    pub fn set_aside(&mut self, report: &Waiting, reason: &str) -> Result<PathBuf> {
        let path = self.quarantine.keep(&format!("report-{}.json", report.report_id), &report.body)?;
        durable::replace(&path.with_extension("reason"), reason.as_bytes())?;
        self.remove(report.report_id)?;
        self.quarantine.trim()?;
        Ok(path)
    }

    /// Drops every waiting report, because a newer one says all they would.
    ///
    /// # Errors
    /// As [`Outbox::remove`].
    pub fn supersede(&mut self) -> Result<()> {
        while let Some(entry) = self.waiting.front() {
            self.remove(entry.report_id)?;
        }
        Ok(())
    }

    fn read(&self, entry: &Entry) -> Result<Waiting> {
        let segment = self.segments.iter().find(|segment| segment.number() == entry.segment).expect("segments with entries are kept");
        let mut body = segment.read(entry.offset, 1 + ID_BYTES + entry.bytes as usize)?;
        body.drain(..=ID_BYTES);
        Ok(Waiting { report_id: entry.report_id, body })
    }

    /// Appends a record durably and returns where it begins.
    fn append(&mut self, payload: &[u8]) -> Result<u64> {
        if !self.broken() && self.segments.back().is_none_or(|segment| segment.bytes() >= SEGMENT_BYTES) {
            self.start_segment()?;
        }
        self.segments.back_mut().expect("an open outbox has a segment").append(payload)
    }

    fn start_segment(&mut self) -> Result<()> {
        let number = self.segments.back().map_or(1, |segment| segment.number() + 1);
        self.segments.push_back(SegmentFile::create(&self.directory, number)?);
        Ok(())
    }

    /// Removes full segments in which nothing waits, from the oldest on: what a segment marks as done always lies before it.
    fn remove_drained(&mut self) -> Result<()> {
        while self.segments.len() > 1 {
            let oldest = self.segments.front().expect("there is more than one");
            if self.waiting.iter().any(|entry| entry.segment == oldest.number()) {
                break;
            }
            oldest.remove()?;
            self.segments.pop_front();
        }
        Ok(())
    }
}

fn depth(waiting: &VecDeque<Entry>) -> Depth {
    Depth { reports: waiting.len() as u64, bytes: waiting.iter().map(|entry| entry.bytes).sum() }
}

/// Applies the records of one segment. Records of a kind this version does not know say nothing about what waits.
fn replay(bytes: &[u8], recovered: &segment::Recovered, segment: u64, waiting: &mut VecDeque<Entry>) {
    for range in &recovered.payloads {
        let payload = &bytes[range.clone()];
        let id = payload.get(1..=ID_BYTES).and_then(|id| uuid::Uuid::from_slice(id).ok()).and_then(|id| ReportId::from_uuid(id).ok());
        match (payload[0], id) {
            (PUT, Some(report_id)) => {
                let offset = segment::record_start(range) as u64;
                waiting.push_back(Entry { report_id, segment, offset, bytes: (payload.len() - 1 - ID_BYTES) as u64 });
            }
            (DONE, Some(report_id)) => waiting.retain(|entry| entry.report_id != report_id),
            (kind, _) => tracing::error!(kind, segment, "the outbox holds a record this version does not know"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        quarantine::{FILES_MAX, quarantined},
    };

    fn home() -> (tempfile::TempDir, AgentHome) {
        let directory = tempfile::tempdir().unwrap();
        let home = AgentHome::open(directory.path().join("state")).unwrap();
        (directory, home)
    }

    fn report(bytes: usize) -> Waiting {
        Waiting { report_id: clock::new_report_id(), body: vec![b'x'; bytes] }
    }

    fn waiting(outbox: &Outbox) -> Vec<Waiting> {
        outbox.waiting().collect::<Result<_>>().unwrap()
    }

    #[test]
    fn reports_wait_in_order_across_restarts_until_they_are_removed() {
        let (_directory, home) = home();
        let reports = [report(3), report(4), report(5)];
        let (mut outbox, _) = Outbox::open(&home).unwrap();
        reports.iter().for_each(|report| outbox.push(report).unwrap());
        outbox.remove(reports[1].report_id).unwrap();
        drop(outbox);
        let (outbox, found) = Outbox::open(&home).unwrap();
        assert_eq!(waiting(&outbox), [reports[0].clone(), reports[2].clone()]);
        assert_eq!((outbox.depth(), found), (Depth { reports: 2, bytes: 8 }, Vec::new()));
        assert_eq!(Outbox::depth_of(&home).unwrap(), outbox.depth());
    }

    /// Every state a torn write can leave the file in, not a sample: what is good stays, what is not is kept aside, and the
    /// outbox works on.
    #[test]
    fn every_truncation_of_the_file_leaves_an_exact_prefix_and_a_working_outbox() {
        let (_directory, home) = home();
        let reports = [report(3), report(9), report(1)];
        let (mut outbox, _) = Outbox::open(&home).unwrap();
        reports.iter().for_each(|report| outbox.push(report).unwrap());
        let path = outbox.segments[0].path().to_owned();
        drop(outbox);
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let (mut outbox, _) = Outbox::open(&home).unwrap();
            let recovered = waiting(&outbox);
            assert!(reports.starts_with(&recovered), "cut at {cut}");
            let late = report(2);
            outbox.push(&late).unwrap();
            drop(outbox);
            let (outbox, found) = Outbox::open(&home).unwrap();
            assert_eq!(found, Vec::<String>::new(), "cut at {cut}: damage is found once");
            assert_eq!(waiting(&outbox), [recovered, vec![late]].concat(), "cut at {cut}");
        }
        assert!(quarantined(&home).unwrap().len() <= FILES_MAX);
    }

    #[test]
    fn drained_segments_are_removed_and_nothing_comes_back() {
        let (_directory, home) = home();
        let (mut outbox, _) = Outbox::open(&home).unwrap();
        let large = usize::try_from(SEGMENT_BYTES).unwrap();
        let reports = [report(large), report(large), report(1)];
        reports.iter().for_each(|report| outbox.push(report).unwrap());
        assert_eq!(outbox.segments.len(), 3);
        outbox.remove(reports[1].report_id).unwrap();
        assert_eq!(outbox.segments.len(), 3, "the first segment still holds a report");
        outbox.remove(reports[0].report_id).unwrap();
        assert_eq!(outbox.segments.len(), 1);
        drop(outbox);
        assert_eq!(waiting(&Outbox::open(&home).unwrap().0), reports[2..]);
    }

    #[test]
    fn the_outbox_says_when_it_is_full() {
        let (_directory, home) = home();
        let (mut outbox, _) = Outbox::open(&home).unwrap();
        assert!(!outbox.overflows_with(limits::REPORT_BYTES_MAX));
        (1..REPORTS_MAX).for_each(|_| outbox.push(&report(1)).unwrap());
        assert!(!outbox.overflows_with(1) && outbox.overflows_with(usize::try_from(BYTES_MAX).unwrap()));
        outbox.push(&report(1)).unwrap();
        assert!(outbox.overflows_with(1));
        outbox.supersede().unwrap();
        assert_eq!(outbox.depth(), Depth::default());
    }
}
