//! Reading the feed, and waiting for it to go on (clause F).

use crate::{
    error::Failure,
    follower::{self, channel},
    options::{Options, Pooling},
    rows::{self, batch_columns},
    sql::position,
    stored::{count, get},
    transaction::{Transaction, Transactions},
};
use redflag_core::{
    feed::{FeedEntry, FeedPosition},
    ids::AgentId,
};
use sqlx::{
    PgPool,
    postgres::{PgListener, PgPoolOptions, PgRow},
};
use std::{
    future,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::AbortHandle, time};

/// How often the database is asked whether the feed went on, where nobody tells.
const POLL: Duration = Duration::from_secs(1);

/// How far the feed goes, once what nobody has numbered yet is numbered: whatever was committed is in it.
pub(crate) async fn newest(transactions: &Transactions) -> Result<FeedPosition, Failure> {
    let (outstanding, newest) = standing(transactions).await?;
    if !outstanding {
        return Ok(newest);
    }
    match follower::number(transactions).await {
        Ok(Some(position)) => Ok(FeedPosition(position)),
        // Another follower was there first.
        Ok(None) => Ok(standing(transactions).await?.1),
        // A server that only reads shows what was numbered elsewhere.
        Err(error) if error.is_read_only() => Ok(newest),
        Err(error) => Err(error),
    }
}

pub(crate) const STANDING: &str = "
    SELECT (SELECT t.ticket FROM feed_tickets AS t ORDER BY t.ticket LIMIT 1) IS NOT NULL,
           COALESCE((SELECT f.first_position + f.batches - 1 FROM feed AS f ORDER BY f.first_position DESC LIMIT 1), 0)";

/// Whether there are tickets, and the newest position.
async fn standing(transactions: &Transactions) -> Result<(bool, FeedPosition), Failure> {
    let mut transaction = transactions.read().await?;
    let row = transaction.row(sqlx::query(STANDING)).await?.ok_or_else(|| Failure::corrupt("a feed that stands nowhere"))?;
    transaction.done().await?;
    Ok((get(&row, 0)?, FeedPosition(get(&row, 1)?)))
}

/// Positions `$1` to `$2`, of the run that holds the first and those that begin up to the last: there are no gaps between them.
pub(crate) const ENTRIES: &str = concat!(
    "SELECT n.position, COALESCE(a.agent_id, d.agent_id), e.number, t.digest, b.number IS NOT NULL, ",
    batch_columns!(),
    " FROM feed AS f
     CROSS JOIN LATERAL generate_series(GREATEST(f.first_position, $1), LEAST(f.first_position + f.batches - 1, $2)) AS n (position)
     CROSS JOIN LATERAL (SELECT (f.first_number + (n.position - f.first_position))::integer AS number) AS e
     LEFT JOIN agents AS a ON a.agent_ref = f.agent_ref
     LEFT JOIN removed_agents AS d ON d.agent_ref = f.agent_ref
     LEFT JOIN update_batches AS b ON b.agent_ref = f.agent_ref AND b.number = e.number
     LEFT JOIN feed_tombstones AS t ON t.agent_ref = f.agent_ref AND t.number = e.number
     WHERE f.first_position <= $2
         AND f.first_position >= COALESCE(
             (SELECT q.first_position FROM feed AS q WHERE q.first_position <= $1 ORDER BY q.first_position DESC LIMIT 1), 1)
     ORDER BY 1"
);

/// Up to `limit` entries after a position, in order.
pub(crate) async fn entries(transaction: &mut Transaction, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, Failure> {
    let (first, last) = (after.0.saturating_add(1), after.0.saturating_add(limit.into()));
    let select = sqlx::query(ENTRIES).bind(position(first)).bind(position(last));
    transaction.rows(select).await?.iter().map(entry).collect()
}

fn entry(row: &PgRow) -> Result<FeedEntry, Failure> {
    let lost = |what: &str| Failure::corrupt(format!("an entry of the feed without {what}"));
    let agent = get::<Option<AgentId>>(row, 1)?.ok_or_else(|| lost("agent"))?;
    let record = if get(row, 4)? { Some(rows::batch(row, 5, agent)?) } else { None };
    let digest = match &record {
        Some(record) => record.feed_digest(),
        None => get::<Option<_>>(row, 3)?.ok_or_else(|| lost("record and tombstone"))?,
    };
    Ok(FeedEntry { position: FeedPosition(get(row, 0)?), agent, number: count(row, 2)?, digest, record })
}

pub(crate) const BATCHES_UNTIL: &str = "
    SELECT f.first_number + LEAST(f.batches - 1, $2 - f.first_position)
    FROM feed AS f
    WHERE f.agent_ref = COALESCE(
            (SELECT a.agent_ref FROM agents AS a WHERE a.agent_id = $1),
            (SELECT d.agent_ref FROM removed_agents AS d WHERE d.agent_id = $1))
        AND f.first_position <= $2
    ORDER BY f.first_position DESC
    LIMIT 1";

/// The number of an agent's newest batch at or below a position.
pub(crate) async fn batches_until(transaction: &mut Transaction, agent: AgentId, until: FeedPosition) -> Result<u64, Failure> {
    let select = sqlx::query(BATCHES_UNTIL).bind(agent.as_uuid()).bind(position(until.0));
    Ok(transaction.row(select).await?.map(|row| get(&row, 0)).transpose()?.unwrap_or(0))
}

/// Wakes those who wait for the feed to go on.
///
/// The first who waits has a connection opened that LISTENs, where the pooling allows it. Notifications are lost with a connection,
/// or when a follower was killed before it numbered, so the database is asked besides, every [`POLL`].
#[derive(Debug)]
pub(crate) struct Growth {
    /// What was last heard. It is no more than a sign: whoever is woken asks the database.
    heard: watch::Sender<u64>,
    listening: Mutex<Option<AbortHandle>>,
}

impl Growth {
    pub(crate) fn new() -> Self {
        Self { heard: watch::Sender::new(0), listening: Mutex::default() }
    }

    /// Where new positions are told.
    pub(crate) fn heard(&self) -> watch::Sender<u64> {
        self.heard.clone()
    }

    /// Hears of new positions from now on.
    pub(crate) fn subscribe(&self, transactions: &Transactions, options: &Options) -> watch::Receiver<u64> {
        let receiver = self.heard.subscribe();
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if listening.is_none() {
            let listener = (options.pooling == Pooling::Session).then(|| Listener::new(transactions, options));
            *listening = Some(tokio::spawn(listen(listener, transactions.clone(), self.heard.clone())).abort_handle());
        }
        receiver
    }

    pub(crate) fn stop(&self) {
        if let Some(task) = &*self.listening.lock().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tells what it hears to `heard`, for ever.
async fn listen(mut listener: Option<Listener>, transactions: Transactions, heard: watch::Sender<u64>) {
    loop {
        // Connected first and asked afterwards: what is numbered in between is heard of.
        if let Some(listener) = &mut listener {
            listener.connect().await;
        }
        let until = time::Instant::now() + POLL;
        // While the database is not there, nothing goes on.
        if let Ok(position) = newest(&transactions).await {
            tell(&heard, position.0);
        }
        match &mut listener {
            Some(listener) => {
                while let Ok(position) = time::timeout_at(until, listener.next()).await {
                    tell(&heard, position);
                }
            }
            None => time::sleep_until(until).await,
        }
    }
}

/// Wakes those who wait, if the position is another one than was told last.
pub(crate) fn tell(heard: &watch::Sender<u64>, position: u64) {
    heard.send_if_modified(|known| std::mem::replace(known, position) != position);
}

/// A connection that hears of new positions, as long as it stands.
struct Listener {
    /// Of that connection alone.
    pool: PgPool,
    schema: String,
    connection: Option<PgListener>,
}

impl Listener {
    fn new(transactions: &Transactions, options: &Options) -> Self {
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None).acquire_timeout(options.acquire_timeout);
        let pool = pool.connect_lazy_with(transactions.connect_options());
        Self { pool, schema: options.schema.clone(), connection: None }
    }

    /// Connects, unless it is connected or cannot now.
    async fn connect(&mut self) {
        if self.connection.is_none() {
            self.connection = self.connected().await.ok();
        }
    }

    async fn connected(&self) -> Result<PgListener, sqlx::Error> {
        let mut connection = PgListener::connect_with(&self.pool).await?;
        connection.eager_reconnect(false);
        let channel = sqlx::query_scalar::<_, String>(concat!("SELECT ", channel!("$1"))).bind(&self.schema);
        let channel = channel.fetch_one(&mut connection).await?;
        connection.listen(&channel).await?;
        Ok(connection)
    }

    /// The next position that is told; waits for ever without a connection.
    async fn next(&mut self) -> u64 {
        while let Some(connection) = &mut self.connection {
            match connection.try_recv().await {
                Ok(Some(notification)) => {
                    if let Ok(position) = notification.payload().parse() {
                        return position;
                    }
                }
                Ok(None) | Err(_) => self.connection = None,
            }
        }
        future::pending().await
    }
}
