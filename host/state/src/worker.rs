//! The threads that own the connections.
//!
//! Invariant: one thread writes. Writes that wait together are committed together, each in a savepoint of its own, and
//! nobody is told of success before the commit returned. Both queues are bounded: who comes when one is full waits.
//! Not here: SQL of any table.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::StateError;

/// Writes that wait for the disk; at a slow disk's 100 commits a second and 64 a commit, a sixth of a second.
pub const WRITE_QUEUE_JOBS_MAX: usize = 1_024;
/// Reads that wait for a reader.
pub const READ_QUEUE_JOBS_MAX: usize = 256;
/// Threads that read beside the writer: one long report query must not keep the API waiting.
pub const READERS: usize = 2;
/// Writes of one commit.
const JOBS_PER_COMMIT_MAX: usize = 64;

/// What a write must survive before its caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Durability {
    /// The death of the process (`synchronous = NORMAL`).
    Process,
    /// The loss of power too (`synchronous = FULL`).
    Power,
}

type Run = Box<dyn FnOnce(&Connection) -> (Result<(), StateError>, Reply) + Send>;
type Reply = Box<dyn FnOnce(Result<(), StateError>) + Send>;

/// A write in two halves: the SQL, then the news of it after the commit.
pub(crate) struct WriteJob {
    durability: Durability,
    run: Run,
}

/// What the writer is asked for.
#[derive(Debug)]
enum Asked {
    Write(WriteJob),
    /// To move all of the log into the file, and to tell when that is done.
    MoveLog(oneshot::Sender<Result<(), StateError>>),
}

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// What the threads have done.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub writes: AtomicU64,
    pub commits: AtomicU64,
    pub reads: AtomicU64,
    pub failures: AtomicU64,
    trouble: Mutex<Trouble>,
}

/// What is wrong with the file.
#[derive(Debug, Default)]
struct Trouble {
    /// How the last commit failed, until one succeeds with something in it.
    failing: Option<StateError>,
    /// What was found damaged. It stays: what is written beside it says nothing of it.
    damage: Option<String>,
}

impl Counters {
    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the last commit failed, if it did.
    pub fn failing(&self) -> Option<StateError> {
        self.trouble().failing.clone()
    }

    /// What was found damaged since the start.
    pub fn damage(&self) -> Option<String> {
        self.trouble().damage.clone()
    }

    fn met(&self, error: &StateError) {
        if let StateError::Damaged(why) = error {
            self.trouble().damage.get_or_insert_with(|| why.clone());
        }
    }

    /// Notes how a commit went: `true` when it kept something.
    fn committed(&self, outcome: Result<bool, StateError>) {
        match outcome {
            Ok(true) => self.trouble().failing = None,
            // Nothing was to be kept: that says nothing of the disk.
            Ok(false) => {}
            Err(error) => {
                self.met(&error);
                self.trouble().failing = Some(error);
            }
        }
    }
}

/// Ends of the queues. The threads end when the last one is dropped and the queues are empty.
#[derive(Debug)]
pub(crate) struct Workers {
    writes: mpsc::Sender<Asked>,
    /// `None` with an in-memory database, which only its own connection sees.
    reads: Option<mpsc::Sender<ReadJob>>,
    pub counters: Arc<Counters>,
    /// For those who are told that it is damaged.
    file: String,
}

impl std::fmt::Debug for WriteJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WriteJob({:?})", self.durability)
    }
}

impl Workers {
    pub fn start(writer: Connection, readers: Vec<Connection>, file: String) -> std::io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let mut threads = Vec::new();
        let reads = if readers.is_empty() {
            None
        } else {
            let (reads, queue) = mpsc::channel::<ReadJob>(READ_QUEUE_JOBS_MAX);
            let queue = Arc::new(Mutex::new(queue));
            for (n, connection) in readers.into_iter().enumerate() {
                let queue = queue.clone();
                let name = format!("state-reader-{n}");
                threads.push(thread::Builder::new().name(name).spawn(move || read_loop(&connection, &queue))?);
            }
            Some(reads)
        };
        let (writes, queue) = mpsc::channel(WRITE_QUEUE_JOBS_MAX);
        let count = counters.clone();
        let write = move || {
            write_loop(&writer, queue, &count);
            // Whoever closes the file last moves its log into it, which one who only reads cannot.
            for reader in threads {
                let _ = reader.join();
            }
            drop(writer);
        };
        thread::Builder::new().name("state-writer".into()).spawn(write)?;
        Ok(Self { writes, reads, counters, file })
    }

    pub fn waiting_writes(&self) -> usize {
        WRITE_QUEUE_JOBS_MAX - self.writes.capacity()
    }

    pub async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        job: impl FnOnce(&Connection) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (tell, told) = oneshot::channel();
        let run = Box::new(move |connection: &Connection| -> (Result<(), StateError>, Reply) {
            let outcome = guarded(|| job(connection));
            let brief = outcome.as_ref().map(drop).map_err(Clone::clone);
            let reply: Reply = Box::new(move |committed| {
                // The caller may have gone; the write stands all the same.
                let _ = tell.send(committed.and(outcome));
            });
            (brief, reply)
        });
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        self.writes.send(Asked::Write(WriteJob { durability, run })).await.map_err(|_| StateError::Closed)?;
        self.noted(told.await.map_err(|_| StateError::Closed)?)
    }

    /// Moves what stands in the log into the file, behind all writes that were asked for before.
    pub async fn move_log(&self) -> Result<(), StateError> {
        let (tell, told) = oneshot::channel();
        self.writes.send(Asked::MoveLog(tell)).await.map_err(|_| StateError::Closed)?;
        self.noted(told.await.map_err(|_| StateError::Closed)?)
    }

    pub async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        let Some(reads) = &self.reads else {
            return self.write(Durability::Process, job).await;
        };
        let (tell, told) = oneshot::channel();
        let run: ReadJob = Box::new(move |connection| {
            let _ = tell.send(guarded(|| job(connection)));
        });
        reads.send(run).await.map_err(|_| StateError::Closed)?;
        self.noted(told.await.map_err(|_| StateError::Closed)?)
    }

    fn noted<T>(&self, outcome: Result<T, StateError>) -> Result<T, StateError> {
        if let Err(error) = &outcome
            && (error.is_of_the_file() || matches!(error, StateError::Failed(_)))
        {
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
            self.counters.met(error);
        }
        outcome.map_err(|error| self.named(error))
    }

    /// With the file's name where it is damaged.
    pub fn named(&self, error: StateError) -> StateError {
        match error {
            StateError::Damaged(why) => StateError::Damaged(format!("{}: {why}", self.file)),
            other => other,
        }
    }
}

/// A fault in one job must not take the thread, and with it everybody's state, away.
fn guarded<T>(job: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| Err(StateError::Failed("a job panicked".into())))
}

fn read_loop(connection: &Connection, queue: &Mutex<mpsc::Receiver<ReadJob>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match job {
            Some(job) => job(connection),
            None => return,
        }
    }
}

fn write_loop(connection: &Connection, mut queue: mpsc::Receiver<Asked>, counters: &Counters) {
    let mut level = Durability::Process;
    while let Some(first) = queue.blocking_recv() {
        let (mut jobs, mut next, mut move_log_for) = (Vec::new(), Some(first), None);
        while let Some(asked) = next.take() {
            match asked {
                Asked::Write(job) => jobs.push(job),
                // What was asked for before it is committed first.
                Asked::MoveLog(tell) => {
                    move_log_for = Some(tell);
                    break;
                }
            }
            if jobs.len() < JOBS_PER_COMMIT_MAX {
                next = queue.try_recv().ok();
            }
        }
        if !jobs.is_empty() {
            let wanted = jobs.iter().map(|j| j.durability).max().unwrap_or(Durability::Process);
            if wanted != level && set_level(connection, wanted).is_ok() {
                level = wanted;
            }
            write_all(connection, jobs, counters);
        }
        if let Some(tell) = move_log_for {
            let _ = tell.send(move_log(connection));
        }
    }
}

fn write_all(connection: &Connection, jobs: Vec<WriteJob>, counters: &Counters) {
    let replies = run_all(connection, jobs);
    counters.commits.fetch_add(1, Ordering::Relaxed);
    let committed = match replies.begun {
        Err(error) => Err(error),
        Ok(()) => commit(connection),
    };
    if let Err(error) = &committed {
        tracing::error!(%error, "a commit of the state failed");
    }
    // Where a job met the disk's refusal, the commit that follows has nothing of it to write, and succeeds.
    let kept = committed.clone().and_then(|()| replies.refusal.map_or(Ok(replies.kept), Err));
    counters.committed(kept);
    for reply in replies.all {
        reply(committed.clone());
    }
}

fn move_log(connection: &Connection) -> Result<(), StateError> {
    let is_held: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_held {
        return Err(StateError::Failed("somebody reads what stands in the log".into()));
    }
    Ok(())
}

struct Replies {
    begun: Result<(), StateError>,
    all: Vec<Reply>,
    /// Is there something to commit?
    kept: bool,
    /// What a job met of the file.
    refusal: Option<StateError>,
}

fn run_all(connection: &Connection, jobs: Vec<WriteJob>) -> Replies {
    let begun = connection.execute_batch("BEGIN IMMEDIATE").map_err(StateError::from);
    let mut all = Vec::with_capacity(jobs.len());
    let (mut kept, mut refusal) = (false, None);
    for job in jobs {
        // Without a transaction around it (none could be begun, or SQLite rolled it back because the disk is full) the
        // job's own savepoint is one: it is always rolled back then, and `commit` tells its caller of the failure.
        let in_transaction = !connection.is_autocommit();
        let fenced = connection.execute_batch("SAVEPOINT job").is_ok();
        let (outcome, reply) = (job.run)(connection);
        let keep = outcome.is_ok() && in_transaction;
        let end = if keep { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
        if fenced && let Err(error) = connection.execute_batch(end) {
            tracing::debug!(%error, "the savepoint of a write was gone already");
        }
        kept |= keep;
        refusal = refusal.or(outcome.err().filter(StateError::is_of_the_file));
        all.push(reply);
    }
    Replies { begun, all, kept, refusal }
}

/// A full disk makes SQLite roll back by itself: then there is nothing to commit, and nothing was kept.
fn commit(connection: &Connection) -> Result<(), StateError> {
    if connection.is_autocommit() {
        return Err(StateError::DiskFull("the transaction was rolled back".into()));
    }
    connection.execute_batch("COMMIT").map_err(|error| {
        let _ = connection.execute_batch("ROLLBACK");
        error.into()
    })
}

fn set_level(connection: &Connection, level: Durability) -> rusqlite::Result<()> {
    let value = match level {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    connection.pragma_update(None, "synchronous", value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(pages_max: u32) -> Workers {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER, data BLOB)").unwrap();
        connection.pragma_update(None, "max_page_count", pages_max).unwrap();
        Workers::start(connection, Vec::new(), "state.sqlite".to_owned()).unwrap()
    }

    fn insert(n: i64, bytes: usize) -> impl FnOnce(&Connection) -> Result<(), StateError> + Send + 'static {
        move |c| {
            c.execute("INSERT INTO t VALUES (?1, zeroblob(?2))", (n, bytes as i64))?;
            Ok(())
        }
    }

    async fn kept(workers: &Workers) -> Vec<i64> {
        let all = workers.read(|c| {
            let mut statement = c.prepare("SELECT n FROM t ORDER BY n")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?)
        });
        all.await.unwrap()
    }

    /// Whatever is refused for want of room, answers and rows agree, and work goes on afterwards.
    #[tokio::test]
    async fn on_a_full_disk_exactly_the_accepted_writes_are_kept() {
        let workers = Arc::new(workers(40));
        let writes: Vec<_> = (0..60)
            .map(|n| {
                let workers = workers.clone();
                tokio::spawn(async move { (n, workers.write(Durability::Power, insert(n, 10_000)).await) })
            })
            .collect();
        let mut accepted = Vec::new();
        for write in writes {
            match write.await.unwrap() {
                (n, Ok(())) => accepted.push(n),
                (_, Err(StateError::DiskFull(_))) => {}
                (n, Err(other)) => panic!("{n}: {other}"),
            }
        }
        assert!(accepted.len() < 20, "{accepted:?}");
        assert_eq!(kept(&workers).await, accepted);
        workers.write(Durability::Process, |c| Ok(c.execute_batch("DELETE FROM t")?)).await.unwrap();
        workers.write(Durability::Process, insert(99, 10)).await.unwrap();
        assert_eq!(kept(&workers).await, [99]);
    }

    /// As `/ready` sees it: the last commit's outcome, until there is room again.
    #[tokio::test]
    async fn a_full_disk_is_told_until_something_is_kept_again() {
        let workers = workers(40);
        let failing = || workers.counters.failing();
        workers.write(Durability::Process, insert(1, 10)).await.unwrap();
        assert_eq!(failing(), None);
        workers.write(Durability::Process, insert(2, 1_000_000)).await.unwrap_err();
        assert!(matches!(failing(), Some(StateError::DiskFull(_))), "{:?}", failing());
        // A job that is refused for its own sake says nothing of the disk, in either direction.
        let wrong = |c: &Connection| Ok(c.execute_batch("INSERT INTO nowhere VALUES (1)")?);
        assert!(matches!(workers.write(Durability::Process, wrong).await, Err(StateError::Failed(_))));
        assert!(matches!(failing(), Some(StateError::DiskFull(_))), "{:?}", failing());
        workers.write(Durability::Process, |c| Ok(c.execute_batch("DELETE FROM t")?)).await.unwrap();
        assert_eq!(failing(), None);
        assert!(matches!(workers.write(Durability::Process, wrong).await, Err(StateError::Failed(_))));
        assert_eq!((failing(), workers.counters.damage()), (None, None));
    }

    #[tokio::test]
    async fn a_job_that_panics_is_undone_and_takes_nobody_with_it() {
        let workers = workers(1_000);
        let broken = workers.write(Durability::Process, |c| -> Result<(), StateError> {
            c.execute("INSERT INTO t VALUES (1, NULL)", [])?;
            panic!("a fault of the program");
        });
        assert_eq!(broken.await, Err(StateError::Failed("a job panicked".into())));
        workers.write(Durability::Process, insert(2, 10)).await.unwrap();
        assert_eq!(kept(&workers).await, [2]);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_does_not_undo_its_write() {
        let workers = Arc::new(workers(1_000));
        let (begin, begun) = std::sync::mpsc::channel();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let shared = workers.clone();
        let caller = tokio::spawn(async move {
            let job = move |c: &Connection| {
                begin.send(()).ok();
                gone.recv().ok();
                insert(1, 10)(c)
            };
            shared.write(Durability::Process, job).await
        });
        tokio::task::spawn_blocking(move || begun.recv()).await.unwrap().unwrap();
        caller.abort();
        let _ = caller.await;
        go.send(()).unwrap();
        assert_eq!(kept(&workers).await, [1]);
    }
}
