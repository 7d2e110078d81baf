//! A stream that fails when for too long no byte passes in either direction: who does not read its answer does not keep its connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// A stream with a limit of silence.
#[derive(Debug)]
pub(super) struct StallLimit<S> {
    stream: S,
    longest: Duration,
    ends: Pin<Box<Sleep>>,
}

impl<S> StallLimit<S> {
    pub(super) fn new(stream: S, longest: Duration) -> Self {
        Self { stream, longest, ends: Box::pin(tokio::time::sleep(longest)) }
    }

    /// Passes on what came of one try: something, and the silence begins anew; nothing, and it fails once the silence was too long.
    fn passed<T>(&mut self, context: &mut Context<'_>, tried: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.ends.as_mut().reset(Instant::now() + self.longest);
            return tried;
        }
        ready!(self.ends.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, format!("no byte passed for {:?}", self.longest))))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallLimit<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.passed(context, tried)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallLimit<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.passed(context, tried)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.passed(context, tried)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_stream_and_a_byte_in_time_prolongs_it() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut limited = StallLimit::new(ours, Duration::from_secs(90));
        let sender = tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(80)).await;
                theirs.write_all(b"x").await.unwrap();
            }
            theirs
        });
        for _ in 0..3 {
            assert_eq!(limited.read_u8().await.unwrap(), b'x');
        }
        let day = Duration::from_secs(86_400);
        let read = tokio::time::timeout(day, limited.read_u8()).await.expect("nothing is sent any more, and that is borne for a day");
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let _theirs = sender.await.unwrap();
        let written = tokio::time::timeout(day, limited.write_all(b"more than fits")).await;
        let written = written.expect("nothing is read any more, and that is borne for a day");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
