//! The agent's requests about commands: signed as reports are, and repeated until the server has answered.

use crate::{
    agent::Agent,
    delivery,
    error::{Error, Result},
    server::Server,
};
use redflag_core::{
    command::{
        delivery::{LeaseAnswer, LeaseBody, OutputBody, ResultAnswer, StartAnswer},
        lifecycle::CommandState,
        record::Claim,
    },
    ids::CommandId,
    limits,
};
use serde::{Serialize, de::DeserializeOwned};
use std::convert::Infallible;
use tokio::sync::mpsc::Receiver;

const COMMANDS: &str = "api/v1/commands";

/// What the server said to what it was told.
#[derive(Debug)]
pub(crate) enum Told {
    /// Where the command stands.
    Stands(CommandState),
    /// Refused for good, for this reason.
    Refused(Error),
}

impl Agent {
    /// Asks for commands, once.
    ///
    /// # Errors
    /// As [`Server::post`].
    ///
    /// # Cancel safety
    /// What was handed out meanwhile is handed out again.
    pub(crate) async fn ask_for_commands(&mut self, server: &Server, body: &LeaseBody) -> Result<LeaseAnswer> {
        let answer = self.post(server, &format!("{COMMANDS}/lease"), json(body)?).await?;
        read(server, &answer)
    }

    /// Says that a command is about to be begun, until the server answers.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], or when the counter of signatures cannot be kept.
    ///
    /// # Cancel safety
    /// It may be said again.
    pub(crate) async fn tell_start(&mut self, server: &Server, id: CommandId) -> Result<Told> {
        let standing = |StartAnswer { id, state }| (id, state);
        self.tell(server, id, "start", Vec::new(), standing).await
    }

    /// Says how a command ended, until the server answers. Errors and cancel safety as of [`Agent::tell_start`].
    pub(crate) async fn tell_result(&mut self, server: &Server, id: CommandId, claim: &Claim) -> Result<Told> {
        let standing = |ResultAnswer { id, state }| (id, state);
        self.tell(server, id, "result", json(claim)?, standing).await
    }

    /// Tells what a command prints, as it comes, for whoever watches. A part that is not taken ends it: the result brings the output.
    ///
    /// Never ends; cancel safe, with what was not told by then.
    pub(crate) async fn tell_output(&mut self, server: &Server, id: CommandId, mut parts: Receiver<String>) -> Infallible {
        let path = format!("{COMMANDS}/{id}/output");
        let mut offset = 0;
        while let Some(mut text) = parts.recv().await {
            while let Ok(more) = parts.try_recv() {
                text += &more;
            }
            let surplus = text.len().saturating_sub(limits::COMMAND_OUTPUT_BYTES_MAX);
            let start = text.ceil_char_boundary(surplus);
            let body = OutputBody { offset: offset + start as u64, text: text[start..].to_owned() };
            offset += text.len() as u64;
            let told = async { self.post(server, &path, json(&body)?).await };
            if let Err(error) = told.await {
                tracing::debug!(command = %id, "what it prints is not told any more: {error}");
                break;
            }
        }
        std::future::pending().await
    }

    async fn tell<T: DeserializeOwned>(
        &mut self,
        server: &Server,
        id: CommandId,
        what: &str,
        body: Vec<u8>,
        standing: fn(T) -> (CommandId, CommandState),
    ) -> Result<Told> {
        let path = format!("{COMMANDS}/{id}/{what}");
        let mut delays = self.retries().endless().delays();
        loop {
            let answer = self.post(server, &path, body.clone()).await.and_then(|answer| read(server, &answer)).map(standing);
            let error = match answer {
                Ok((about, state)) if about == id => return Ok(Told::Stands(state)),
                Ok((about, _)) => server.unreachable(format!("it answered about command {about} instead of {id}"), None),
                Err(error @ Error::Refused { .. }) => return Ok(Told::Refused(error)),
                Err(error) => error,
            };
            let (Error::Unreachable { retry_after, .. }, Some(delay)) = (&error, delays.next()) else { return Err(error) };
            let after = delivery::wait(delay, *retry_after);
            tracing::warn!(command = %id, after_ms = after.as_millis() as u64, "{error}; telling its {what} again");
            tokio::time::sleep(after).await;
        }
    }
}

fn json(body: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|error| Error::invalid(format!("could not encode what is told of commands: {error}")))
}

fn read<T: DeserializeOwned>(server: &Server, answer: &[u8]) -> Result<T> {
    serde_json::from_slice(answer).map_err(|error| server.unreachable(format!("its answer about commands is not readable: {error}"), None))
}
