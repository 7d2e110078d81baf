//! The way to PostgreSQL, which can be cut where it hurts: before a commit, after it, or anywhere.
//!
//! The proxy knows just enough of the protocol to tell one message of a client from the next.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Notify,
    task::JoinHandle,
};

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The `COMMIT` after so many others does not reach the server any more.
    BeforeCommit(u32),
    /// The server has answered the `COMMIT` after so many others, and the answer does not reach the client any more.
    AfterCommit(u32),
    /// After so many bytes, counted over all connections and both ways, in the middle of whatever it is.
    AfterBytes(u64),
}

/// A proxy on a loopback port before a PostgreSQL server.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    cut_all: Notify,
}

#[derive(Debug)]
struct State {
    target: PathBuf,
    armed: Option<Cut>,
    fired: u64,
    /// What is blanked out of statements.
    blanked: Option<&'static str>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    /// Only so many bytes of it, then the connection ends.
    Cut(usize),
    /// It passes, its answer does not, then the connection ends.
    Unanswered,
}

impl Proxy {
    /// A proxy before the server with this socket.
    pub async fn before(socket: &Path) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port is free");
        let port = listener.local_addr().expect("a bound port is known").port();
        let state = State { target: socket.to_owned(), armed: None, fired: 0, blanked: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), cut_all: Notify::new() });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // How a connection ends is what this proxy is about, and no error of its own.
                tokio::spawn(async move { drop(serve(client, &shared).await) });
            }
        });
        Self { port, shared, accepting }
    }

    /// The URL of the server's one database, by this way.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://redflag@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Cuts one connection there, once.
    pub fn arm(&self, cut: Cut) {
        self.shared.state().armed = Some(cut);
    }

    /// Cuts nothing any more; answers how often something was cut so far.
    pub fn disarm(&self) -> u64 {
        let mut state = self.shared.state();
        state.armed = None;
        state.fired
    }

    /// Leads to another server from now on; connections to the one before end.
    pub fn lead_to(&self, socket: &Path) {
        socket.clone_into(&mut self.shared.state().target);
        self.shared.cut_all.notify_waiters();
    }

    /// Blanks these words out of every statement.
    pub fn blank(&self, words: &'static str) {
        self.shared.state().blanked = Some(words);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.cut_all.notify_waiters();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What becomes of so many bytes of a server's answer.
    fn fate_of_answer(&mut self, bytes: usize) -> Fate {
        let Some(Cut::AfterBytes(left)) = self.armed else { return Fate::Pass };
        match usize::try_from(left) {
            Ok(left) if left < bytes => self.fire(Fate::Cut(left)),
            _ => {
                self.armed = Some(Cut::AfterBytes(left - bytes as u64));
                Fate::Pass
            }
        }
    }

    /// What becomes of a message of a client.
    fn fate_of_message(&mut self, message: &[u8]) -> Fate {
        let commit = message[0] == b'Q' && message[5..] == *b"COMMIT\0";
        match self.armed {
            Some(Cut::BeforeCommit(0)) if commit => self.fire(Fate::Cut(0)),
            Some(Cut::AfterCommit(0)) if commit => self.fire(Fate::Unanswered),
            Some(Cut::BeforeCommit(others)) if commit => self.pass(Cut::BeforeCommit(others - 1)),
            Some(Cut::AfterCommit(others)) if commit => self.pass(Cut::AfterCommit(others - 1)),
            _ => self.fate_of_answer(message.len()),
        }
    }

    fn pass(&mut self, then: Cut) -> Fate {
        self.armed = Some(then);
        Fate::Pass
    }

    fn fire(&mut self, fate: Fate) -> Fate {
        self.armed = None;
        self.fired += 1;
        fate
    }
}

/// Serves one connection until an end closes it or it is cut.
async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let cut_all = shared.cut_all.notified();
    let target = shared.state().target.clone();
    let mut server = UnixStream::connect(target).await?;
    let mut answers = vec![0; 64 * 1_024];
    let mut messages = Messages::default();
    let mut unanswered = false;
    let mut cut_all = std::pin::pin!(cut_all);
    loop {
        tokio::select! {
            () = &mut cut_all => return Ok(()),
            read = client.read_buf(&mut messages.bytes) => {
                if read? == 0 {
                    return Ok(());
                }
                while let Some(mut message) = messages.next() {
                    let (fate, blanked) = {
                        let mut state = shared.state();
                        (if messages.started { state.fate_of_message(&message) } else { Fate::Pass }, state.blanked)
                    };
                    messages.started = true;
                    blanked.into_iter().for_each(|words| blank(&mut message, words.as_bytes()));
                    match fate {
                        Fate::Pass => server.write_all(&message).await?,
                        Fate::Cut(bytes) => return server.write_all(&message[..bytes]).await,
                        Fate::Unanswered => {
                            unanswered = true;
                            server.write_all(&message).await?;
                        }
                    }
                }
            }
            read = server.read(&mut answers) => {
                let bytes = read?;
                if bytes == 0 || unanswered {
                    // The first bytes after a commit are its answer.
                    return Ok(());
                }
                let fate = shared.state().fate_of_answer(bytes);
                if let Fate::Cut(bytes) = fate {
                    return client.write_all(&answers[..bytes]).await;
                }
                client.write_all(&answers[..bytes]).await?;
            }
        }
    }
}

/// A client's bytes, cut into messages. The first one has no type before its length.
#[derive(Debug, Default)]
struct Messages {
    bytes: Vec<u8>,
    started: bool,
}

impl Messages {
    fn next(&mut self) -> Option<Vec<u8>> {
        let kind = usize::from(self.started);
        let length = u32::from_be_bytes(self.bytes.get(kind..kind + 4)?.try_into().ok()?);
        let end = kind + usize::try_from(length).ok()?;
        (self.bytes.len() >= end).then(|| self.bytes.drain(..end).collect())
    }
}

fn blank(message: &mut [u8], words: &[u8]) {
    if let Some(place) = message.windows(words.len()).position(|window| window == words) {
        message[place..place + words.len()].fill(b' ');
    }
}
