//! The lines of an export: out of a fleet, into a fleet, from a file.

use crate::progress::Progress;
use anyhow::{Context as _, bail};
use redflag_core::{
    Fleet,
    export::{Exporter, Importer, Summary},
};
use std::{
    io::{self, BufRead, Read as _},
    thread,
};
use tokio::sync::mpsc;

/// Most bytes of one line; those of the largest agents have some hundred million.
const LINE_BYTES_MAX: u64 = 1 << 30;
/// Lines read ahead of the import.
const LINES_AHEAD: usize = 16;
/// Lines between two looks at the counts.
const LINES_PER_LOOK: u64 = 64;

/// Exports `fleet`, each line to `take`.
pub(crate) async fn export(
    fleet: &Fleet,
    progress: &Progress,
    mut take: impl AsyncFnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Summary> {
    let mut exporter = Exporter::new(fleet);
    let mut lines = 0;
    while let Some(line) = exporter.next_line().await? {
        take(&line).await?;
        lines += 1;
        if lines % LINES_PER_LOOK == 0 {
            progress.tell(&counts(&exporter.summary()));
        }
    }
    Ok(exporter.summary())
}

/// Imports the lines of `input`, which is read on a thread of its own, so that waiting for it can be given up.
pub(crate) async fn import(mut importer: Importer, progress: &Progress, input: impl BufRead + Send + 'static) -> anyhow::Result<Summary> {
    let (sender, mut lines) = mpsc::channel(LINES_AHEAD);
    thread::Builder::new().name("lines".to_owned()).spawn(move || read(input, &sender)).context("starting a thread")?;
    let mut count = 0;
    while let Some(line) = lines.recv().await {
        importer.line(&line.context("reading the input")?).await?;
        count += 1;
        if count % LINES_PER_LOOK == 0 {
            progress.tell(&counts(&importer.summary()));
        }
    }
    Ok(importer.finish()?)
}

/// What has been moved, in words.
pub(crate) fn counts(summary: &Summary) -> String {
    let Summary { agents, batches, events, records, .. } = summary;
    format!("{agents} agents, {batches} batches, {events} events, {records} records")
}

/// Sends each line without its line feed, until the input ends, fails, or nobody listens any more.
fn read(mut input: impl BufRead, sender: &mpsc::Sender<anyhow::Result<String>>) {
    loop {
        let line = line(&mut input).transpose();
        let Some(line) = line else { return };
        let failed = line.is_err();
        if sender.blocking_send(line).is_err() || failed {
            return;
        }
    }
}

fn line(input: &mut impl BufRead) -> anyhow::Result<Option<String>> {
    let mut bytes = Vec::new();
    if input.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if bytes.len() as u64 == LINE_BYTES_MAX {
        bail!("a line of more than {LINE_BYTES_MAX} bytes");
    }
    String::from_utf8(bytes).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_line_feeds_only() {
        let mut input = &b"a\r\n\nb c\nlast"[..];
        let mut lines = Vec::new();
        while let Some(line) = line(&mut input).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, ["a\r", "", "b c", "last"]);
        assert!(line(&mut &b"\xff\n"[..]).is_err(), "what is no UTF-8 is no line");
    }
}
