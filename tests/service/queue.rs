//! The queue as its trait promises it: the same cases with SQLite and with PostgreSQL.

use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use syrinx::service::database::Database;
use syrinx::service::jobs::{
    ATTEMPTS, JobRequest, JobState, LOST_ATTEMPTS, NewJob, Outcome, PostgresQueue, Queue, SqliteQueue, Submitted,
};
use syrinx::service::postgres::{Address, Postgres};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::servers::PostgresServer;

const LEASE: Duration = Duration::from_mins(1);
const KEEP: Duration = Duration::from_mins(1);

/// Where a queue is kept.
trait Store: Sync {
    fn new() -> Self;

    /// The queue, opened anew, as a process of its own has it.
    fn open(&self) -> Arc<dyn Queue>;
}

struct Sqlite(TempDir);

impl Store for Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn open(&self) -> Arc<dyn Queue> {
        Arc::new(SqliteQueue::new(Database::open(&self.0.path().join("jobs.db")).expect("a database")))
    }
}

struct Shared {
    server: Arc<PostgresServer>,
    database: String,
    runtime: Runtime,
}

impl Shared {
    fn of_machine(&self, name: &str) -> Arc<dyn Queue> {
        let address = Address::read(&self.server.secret_url(&self.database), false).expect("an address");
        let database = Postgres::open(self.runtime.handle().clone(), address).expect("a database");
        Arc::new(PostgresQueue::new(database, name.to_owned()))
    }
}

impl Store for Shared {
    fn new() -> Self {
        let server = PostgresServer::shared();
        let database = server.database();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { server, database, runtime: runtime.expect("a runtime") }
    }

    fn open(&self) -> Arc<dyn Queue> {
        self.of_machine("machine")
    }
}

/// Makes each case a test of each store.
macro_rules! cases {
    ($($case:ident)*) => {
        mod sqlite {
            $(#[test] fn $case() { super::$case(&<super::Sqlite as super::Store>::new()); })*
        }
        mod postgres {
            $(#[test] fn $case() { super::$case(&<super::Shared as super::Store>::new()); })*
        }
    };
}

cases! {
    jobs_are_handed_out_once_the_most_urgent_first_then_the_oldest
    many_workers_at_once_get_each_job_once
    only_the_latest_attempt_finishes_a_job_and_only_once
    what_was_being_done_when_the_server_died_is_handed_out_again_but_not_forever
    a_failure_is_tried_again_where_that_is_of_use_and_a_cancelled_job_is_not
    a_job_that_is_released_waits_again_and_has_not_failed
    a_wish_sent_again_is_known_another_under_its_key_is_not_and_too_many_are_refused
    the_same_wish_sent_many_times_at_once_is_queued_once
    what_has_expired_is_known_to_have_been_and_keeps_nothing
    what_expired_long_ago_is_forgotten_and_its_key_is_free_again
    any_text_comes_back_as_it_was_and_no_name_is_an_error
}

fn new(id: &str, priority: i64, idempotency: Option<&str>) -> NewJob {
    let request = JobRequest { text: format!("say {}", id.len()), input: None, params: Default::default() };
    NewJob { id: id.into(), request, priority, idempotency: idempotency.map(str::to_owned) }
}

fn submit(queue: &dyn Queue, id: &str, priority: i64) {
    assert!(matches!(queue.submit(&new(id, priority, None), 1000), Ok(Submitted::New(_))));
}

fn jobs_are_handed_out_once_the_most_urgent_first_then_the_oldest(store: &impl Store) {
    let queue = store.open();
    for (id, priority) in [("a", 0), ("b", 0), ("c", 5), ("d", -1)] {
        submit(&*queue, id, priority);
        std::thread::sleep(Duration::from_millis(2));
    }
    let listed: Vec<String> = queue.list(3, None).expect("a queue").into_iter().map(|job| job.id).collect();
    assert_eq!(listed, ["d", "c", "b"]);
    // Another process sees the same.
    let other = store.open();
    let order: Vec<String> = (0..4)
        .map(|turn| if turn % 2 == 0 { &queue } else { &other })
        .map(|queue| queue.claim(LEASE).expect("a queue").expect("a job").id)
        .collect();
    assert_eq!(order, ["c", "a", "b", "d"]);
    assert_eq!(queue.claim(LEASE).expect("a queue"), None);
    assert_eq!(queue.counts().expect("a queue").by_state, [0, 4, 0, 0, 0]);
}

fn many_workers_at_once_get_each_job_once(store: &impl Store) {
    const JOBS: usize = 60;
    let queue = store.open();
    (0..JOBS).for_each(|number| submit(&*queue, &format!("job-{number}"), 0));
    let claimed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let queue = store.open();
                // Who finds nothing may have passed over what another was claiming.
                while claimed.lock().expect("a list").len() < JOBS {
                    if let Some(job) = queue.claim(LEASE).expect("a queue") {
                        claimed.lock().expect("a list").push(job.id);
                    }
                }
            });
        }
    });
    let mut claimed = claimed.into_inner().expect("a list");
    claimed.sort();
    claimed.dedup();
    assert_eq!(claimed.len(), JOBS);
    assert_eq!(queue.claim(LEASE).expect("a queue"), None);
}

fn only_the_latest_attempt_finishes_a_job_and_only_once(store: &impl Store) {
    let queue = store.open();
    submit(&*queue, "a", 0);
    assert_eq!(queue.claim(Duration::ZERO).expect("a queue").expect("a job").attempt, 1);
    std::thread::sleep(Duration::from_millis(5));
    // The first worker is taken for lost.
    assert_eq!(queue.claim(LEASE).expect("a queue").expect("a job").attempt, 2);
    assert!(!queue.renew("a", 1, 0.5, LEASE).expect("a queue"));
    assert!(!queue.complete("a", 1, "late", &Outcome::default(), KEEP).expect("a queue"));
    assert!(queue.renew("a", 2, 0.5, LEASE).expect("a queue"));
    assert_eq!(queue.get("a").expect("a queue").expect("a job").progress, 0.5);
    let outcome = Outcome { duration_seconds: 1.25, transpose_semitones: Some(-3.5), ..Outcome::default() };
    assert!(queue.complete("a", 2, "result", &outcome, KEEP).expect("a queue"));
    // The answer may have been lost: the same result is taken again, another is not.
    assert!(queue.complete("a", 2, "result", &outcome, KEEP).expect("a queue"));
    assert!(!queue.complete("a", 2, "again", &outcome, KEEP).expect("a queue"));
    let job = queue.get("a").expect("a queue").expect("a job");
    assert_eq!((job.state, job.result.as_deref(), job.attempt), (JobState::Completed, Some("result"), 2));
    assert_eq!(job.outcome, Some(outcome));
}

fn what_was_being_done_when_the_server_died_is_handed_out_again_but_not_forever(store: &impl Store) {
    submit(&*store.open(), "a", 0);
    for attempt in 1..=LOST_ATTEMPTS {
        let queue = store.open();
        assert_eq!(queue.recover().expect("a queue"), u64::from(attempt > 1));
        assert_eq!(queue.claim(LEASE).expect("a queue").expect("a job").attempt, attempt);
    }
    let queue = store.open();
    queue.recover().expect("a queue");
    assert_eq!(queue.claim(LEASE).expect("a queue"), None);
    assert_eq!(queue.get("a").expect("a queue").expect("a job").state, JobState::Failed);
}

fn a_failure_is_tried_again_where_that_is_of_use_and_a_cancelled_job_is_not(store: &impl Store) {
    let queue = store.open();
    submit(&*queue, "a", 0);
    for attempt in 1..=ATTEMPTS {
        assert_eq!(queue.claim(LEASE).expect("a queue").expect("a job").attempt, attempt);
        assert!(queue.fail("a", attempt, "no server", Some(Duration::ZERO), KEEP).expect("a queue"));
    }
    let job = queue.get("a").expect("a queue").expect("a job");
    assert_eq!((job.state, job.error.as_deref()), (JobState::Failed, Some("no server")));

    submit(&*queue, "bb", 0);
    let claimed = queue.claim(LEASE).expect("a queue").expect("a job");
    assert!(queue.fail("bb", claimed.attempt, "later", Some(LEASE), KEEP).expect("a queue"));
    assert_eq!(queue.claim(LEASE).expect("a queue"), None);
    assert!(queue.cancel("bb", KEEP).expect("a queue"));
    assert!(!queue.renew("bb", claimed.attempt, 0.5, LEASE).expect("a queue"));
    assert!(!queue.cancel("bb", KEEP).expect("a queue"));
    assert_eq!(queue.claim(LEASE).expect("a queue"), None);
    assert_eq!(queue.delete("bb").expect("a queue").map(|job| job.error), Some(Some("cancelled".into())));
    assert_eq!((queue.delete("bb").expect("a queue"), queue.get("bb").expect("a queue")), (None, None));
}

fn a_job_that_is_released_waits_again_and_has_not_failed(store: &impl Store) {
    let queue = store.open();
    submit(&*queue, "a", 0);
    for attempt in 1..=ATTEMPTS + 1 {
        assert_eq!(queue.claim(LEASE).expect("a queue").expect("a job").attempt, attempt);
        assert!(!queue.release("a", attempt + 1, Duration::ZERO).expect("a queue"));
        assert!(queue.release("a", attempt, Duration::ZERO).expect("a queue"));
    }
    assert!(!queue.complete("a", ATTEMPTS + 1, "late", &Outcome::default(), KEEP).expect("a queue"));
    let attempt = queue.claim(LEASE).expect("a queue").expect("a job").attempt;
    assert!(queue.release("a", attempt, LEASE).expect("a queue"));
    assert_eq!(queue.claim(LEASE).expect("a queue"), None);
    let job = queue.get("a").expect("a queue").expect("a job");
    assert_eq!((job.state, job.error), (JobState::Queued, None));
    // Nor do attempts that were given back count as failures, or as workers lost.
    submit(&*queue, "b", 1);
    for attempt in 1..=LOST_ATTEMPTS {
        assert_eq!(queue.claim(LEASE).expect("a queue").expect("a job").attempt, attempt);
        assert!(queue.release("b", attempt, Duration::ZERO).expect("a queue"));
    }
    queue.claim(LEASE).expect("a queue").expect("a job");
    assert_eq!(queue.recover().expect("a queue"), 1);
    std::thread::sleep(Duration::from_millis(2));
    let attempt = queue.claim(LEASE).expect("a queue").expect("a job").attempt;
    assert!(queue.fail("b", attempt, "a hiccup", Some(Duration::ZERO), KEEP).expect("a queue"));
    assert_eq!(queue.get("b").expect("a queue").expect("a job").state, JobState::Queued);
}

fn a_wish_sent_again_is_known_another_under_its_key_is_not_and_too_many_are_refused(store: &impl Store) {
    let queue = store.open();
    assert!(matches!(queue.submit(&new("a", 0, Some("key")), 2), Ok(Submitted::New(_))));
    assert!(matches!(queue.submit(&new("b", 0, Some("key")), 2), Ok(Submitted::Known(job)) if job.id == "a"));
    assert_eq!(queue.submit(&new("other", 0, Some("key")), 2).expect("a queue"), Submitted::Conflict);
    assert!(matches!(queue.submit(&new("c", 0, None), 2), Ok(Submitted::New(_))));
    assert_eq!(queue.submit(&new("d", 0, None), 2).expect("a queue"), Submitted::Full);
    // What is known needs no room.
    assert!(matches!(queue.submit(&new("e", 0, Some("key")), 2), Ok(Submitted::Known(job)) if job.id == "a"));
}

fn the_same_wish_sent_many_times_at_once_is_queued_once(store: &impl Store) {
    let queues: Vec<_> = (0..6).map(|_| store.open()).collect();
    let all = Barrier::new(queues.len());
    let submit = |number: usize| {
        let queue = &queues[number];
        all.wait();
        queue.submit(&new(&number.to_string(), 0, Some("key")), 9).expect("a queue")
    };
    let submit = &submit;
    let submitted: Vec<Submitted> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|number| scope.spawn(move || submit(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    let is_new = |submitted: &&Submitted| matches!(submitted, Submitted::New(_));
    let is_known = |submitted: &&Submitted| matches!(submitted, Submitted::Known(_));
    assert_eq!((submitted.iter().filter(is_new).count(), submitted.iter().filter(is_known).count()), (1, 5));
}

fn what_has_expired_is_known_to_have_been_and_keeps_nothing(store: &impl Store) {
    let queue = store.open();
    submit(&*queue, "a", 0);
    queue.claim(LEASE).expect("a queue");
    queue.complete("a", 1, "result", &Outcome::default(), Duration::ZERO).expect("a queue");
    assert_eq!(queue.blobs().expect("a queue"), ["result"]);
    let expired = queue.expire().expect("a queue");
    assert_eq!(expired.iter().map(|job| job.result.as_deref()).collect::<Vec<_>>(), [Some("result")]);
    assert!(queue.expire().expect("a queue").is_empty());
    assert_eq!(queue.get("a").expect("a queue").expect("a job").state, JobState::Expired);
    assert!(queue.list(9, None).expect("a queue").is_empty() && queue.blobs().expect("a queue").is_empty());
    assert_eq!(queue.counts().expect("a queue").by_state, [0, 0, 0, 0, 1]);
}

fn what_expired_long_ago_is_forgotten_and_its_key_is_free_again(store: &impl Store) {
    let queue = store.open();
    assert!(matches!(queue.submit(&new("a", 0, Some("key")), 9), Ok(Submitted::New(_))));
    queue.claim(LEASE).expect("a queue");
    queue.complete("a", 1, "result", &Outcome::default(), Duration::ZERO).expect("a queue");
    submit(&*queue, "bb", 0);
    queue.claim(LEASE).expect("a queue");
    submit(&*queue, "ccc", 0);
    std::thread::sleep(Duration::from_millis(5));
    // What is kept has not expired, though its time is over.
    assert_eq!(queue.forget(Duration::ZERO).expect("a queue"), 0);
    assert_eq!(queue.expire().expect("a queue").len(), 1);
    assert_eq!(queue.forget(KEEP).expect("a queue"), 0);
    assert_eq!(queue.forget(Duration::ZERO).expect("a queue"), 1);
    assert_eq!(queue.get("a").expect("a queue"), None);
    assert_eq!(queue.counts().expect("a queue").by_state, [1, 1, 0, 0, 0]);
    assert!(matches!(queue.submit(&new("dddd", 0, Some("key")), 9), Ok(Submitted::New(_))));
    assert_eq!(queue.open_counts().expect("a queue").by_state, [2, 1, 0, 0, 0]);
}

fn any_text_comes_back_as_it_was_and_no_name_is_an_error(store: &impl Store) {
    let queue = store.open();
    let text = "\0 'quoted' \\ \u{1f426} \u{202e}\r\n$1 %s";
    let request = JobRequest { text: text.into(), input: Some("input-a".into()), params: Default::default() };
    let job = NewJob { id: "a".into(), request, priority: 10, idempotency: Some("' OR 1=1 --".into()) };
    assert!(matches!(queue.submit(&job, 9), Ok(Submitted::New(queued)) if queued.request == job.request));
    assert_eq!(queue.claim(LEASE).expect("a queue").map(|claimed| claimed.request), Some(job.request));
    assert!(queue.fail("a", 1, "voice `\0` not found", None, KEEP).expect("a queue"));
    assert!(
        queue.get("a").expect("a queue").and_then(|job| job.error).is_some_and(|error| error.ends_with("not found"))
    );
    for name in ["a\0", "\0", "'", "none"] {
        assert_eq!(queue.get(name).expect(name), None);
        assert!(!queue.cancel(name, KEEP).expect(name) && queue.delete(name).expect(name).is_none());
    }
    assert_eq!(queue.blobs().expect("a queue"), ["input-a"]);
}

#[test]
fn a_machine_that_starts_again_takes_up_its_own_jobs_and_leaves_those_of_others() {
    let store = Shared::new();
    let (one, other) = (store.of_machine("one"), store.of_machine("other"));
    submit(&*one, "a", 1);
    submit(&*one, "b", 0);
    assert_eq!(one.claim(LEASE).expect("a queue").map(|job| job.id).as_deref(), Some("a"));
    assert_eq!(other.claim(LEASE).expect("a queue").map(|job| job.id).as_deref(), Some("b"));
    assert_eq!(store.of_machine("one").recover().expect("a queue"), 1);
    assert_eq!(other.claim(LEASE).expect("a queue").map(|job| (job.id, job.attempt)), Some(("a".into(), 2)));
    assert!(other.renew("b", 1, 0.1, LEASE).expect("a queue"));
}

#[test]
fn a_change_is_heard_of_on_other_machines_without_asking() {
    let store = Shared::new();
    let (here, there) = (store.of_machine("here"), store.of_machine("there"));
    let (tell, told) = std::sync::mpsc::channel();
    there.watch(Box::new(move |id, waits| tell.send((id.to_owned(), waits)).expect("a listener")));
    submit(&*here, "a", 0);
    here.claim(LEASE).expect("a queue");
    // Renewed without progress, nothing changes.
    assert!(here.renew("a", 1, 0.0, LEASE).expect("a queue"));
    assert!(here.complete("a", 1, "result", &Outcome::default(), KEEP).expect("a queue"));
    submit(&*here, "b", 0);
    let heard: Vec<_> = (0..4).map(|_| told.recv_timeout(Duration::from_secs(10)).expect("a change")).collect();
    assert_eq!(heard, [("a".into(), true), ("a".into(), false), ("a".into(), false), ("b".into(), true)]);
}

#[test]
fn servers_that_start_at_once_make_the_tables_once() {
    let store = Shared::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| store.open().counts().expect("tables"));
        }
    });
    assert_eq!(store.server.query(&store.database, "SELECT version, count(*) OVER () FROM syrinx_tables"), "2|1");
    store.server.query(&store.database, "UPDATE syrinx_tables SET version = 99");
    let address = Address::read(&store.server.secret_url(&store.database), false).expect("an address");
    let error = Postgres::open(store.runtime.handle().clone(), address).expect_err("newer tables").to_string();
    assert!(error.contains("version 99") && error.contains("newer"), "{error}");
}

#[test]
fn tables_of_before_get_what_they_lack_and_keep_what_they_hold() {
    let store = Shared::new();
    submit(&*store.open(), "a", 0);
    let query = |statement: &str| store.server.query(&store.database, statement);
    query("DROP INDEX syrinx_jobs_due; UPDATE syrinx_tables SET version = 1");
    assert_eq!(store.open().claim(LEASE).expect("a queue").map(|job| job.id).as_deref(), Some("a"));
    assert_eq!(query("SELECT version FROM syrinx_tables"), "2");
    // Where a table is long: what is asked each minute reads the index.
    for due in ["state IN ('completed', 'failed')", "state = 'expired'"] {
        let plan = query(&format!(
            "SET enable_seqscan = off; EXPLAIN SELECT * FROM syrinx_jobs WHERE {due} AND expires_ms <= syrinx_now()"
        ));
        assert!(plan.contains("syrinx_jobs_due"), "{plan}");
    }
}

#[test]
fn a_database_that_crashed_and_came_back_is_found_again_with_all_that_was_answered_for() {
    let server = Arc::new(PostgresServer::start());
    let database = server.database();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let store = Shared { server: server.clone(), database, runtime: runtime.expect("a runtime") };
    let queue = store.open();
    submit(&*queue, "a", 0);
    assert!(queue.claim(LEASE).expect("a queue").is_some());
    server.crash();
    let asked = Instant::now();
    let error = queue.get("a").expect_err("it is gone");
    // Told at once, by name, without the password.
    assert!(error.exit_code() == 69 && asked.elapsed() < Duration::from_secs(10), "{error}");
    let error = queue.get("a").expect_err("it is gone still").to_string();
    assert!(error.starts_with("postgres://syrinx@127.0.0.1") && error.contains("refused"), "{error}");
    server.go_on();
    let (tell, told) = std::sync::mpsc::channel();
    queue.watch(Box::new(move |id, _| tell.send(id.to_owned()).expect("a listener")));
    assert!(queue.complete("a", 1, "result", &Outcome::default(), KEEP).expect("it is back"));
    // Changes are heard of again too.
    assert_eq!(told.recv_timeout(Duration::from_secs(10)).expect("a change"), "a");
}
