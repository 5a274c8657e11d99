//! Servers that several machines share: PostgreSQL of Debian's package, and one that speaks S3.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Who may use the database. The letters mean something in URLs, shells and PostgreSQL's own strings.
pub const USER: &str = "syrinx";
pub const PASSWORD: &str = "pass/word: it's %40 \\ secret";
/// The part of it that is written alike everywhere.
pub const RECOGNISED: &str = "pass/word: it's %40";
/// Who may use the bucket.
pub const ACCESS_KEY: &str = "syrinx-access-key";
pub const SECRET_KEY: &str = "another/secret+of-the-bucket";
pub const BUCKET: &str = "voices-and-results";
/// Longest wait for a server.
const PATIENCE: Duration = Duration::from_mins(1);

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("a program");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Folder of PostgreSQL's programs, of the newest version that is installed.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL: see `make service-packages`");
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.expect("an entry").path()).collect();
    versions.sort();
    versions.pop().expect("a version").join("bin")
}

/// A PostgreSQL server with its data in a temporary folder.
pub struct PostgresServer {
    folder: TempDir,
    port: u16,
    databases: AtomicU32,
}

impl PostgresServer {
    pub fn start() -> Self {
        let server = Self { folder: tempfile::tempdir().expect("a folder"), port: free_port(), databases: 0.into() };
        let password = server.folder.path().join("password");
        std::fs::write(&password, PASSWORD).expect("a file");
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(server.folder.path()));
        }
        let pwfile = format!("--pwfile={}", password.display());
        let initdb = ["--auth=scram-sha-256", "--username", USER, &pwfile, "--encoding=UTF8", "--locale=C.UTF-8", "-D"];
        run(server.program("initdb").args(initdb).arg(server.data()));
        server.go_on();
        server
    }

    /// The one that all tests share that do not stop it. It ends with the last of them.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of PostgreSQL's, run by its user where root runs the tests: it refuses root.
    fn program(&self, name: &str) -> Command {
        let program = programs().join(name);
        let mut command = Command::new(if is_root() { Path::new("runuser") } else { program.as_path() });
        if is_root() {
            command.args(["-u", "postgres", "--"]).arg(program);
        }
        command.current_dir(self.folder.path());
        command
    }

    /// Starts it, also after [`crash`](Self::crash).
    pub fn go_on(&self) {
        let (folder, port) = (self.folder.path().display(), self.port);
        let options = format!("-p {port} -k {folder} -c listen_addresses=127.0.0.1");
        let log = self.folder.path().join("log");
        run(self.program("pg_ctl").args(["-w", "-o", &options, "-l"]).arg(log).arg("-D").arg(self.data()).arg("start"));
    }

    /// Ends it as a loss of power does to what it has in memory.
    pub fn crash(&self) {
        run(self.program("pg_ctl").args(["-w", "-m", "immediate", "-D"]).arg(self.data()).arg("stop"));
    }

    /// A new database.
    pub fn database(&self) -> String {
        let name = format!("syrinx_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.query("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The address with its password, as a variable may hold it.
    pub fn secret_url(&self, database: &str) -> String {
        let password = PASSWORD.bytes().fold(String::new(), |letters, byte| letters + &format!("%{byte:02X}"));
        self.url(database).replacen(USER, &format!("{USER}:{password}"), 1)
    }

    /// The same by way of `link`.
    pub fn secret_url_through(&self, link: &LossyLink, database: &str) -> String {
        self.secret_url(database).replace(&format!(":{}/", self.port), &format!(":{}/", link.port))
    }

    /// What a statement gives, as `psql` shows it.
    pub fn query(&self, database: &str, statement: &str) -> String {
        let port = self.port.to_string();
        let mut psql = Command::new(programs().join("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &port, "-U", USER, "-d", database, "-v", "ON_ERROR_STOP=1", "-qAtc"]);
        run(psql.arg(statement).env("PGPASSWORD", PASSWORD))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // A test may have stopped it.
        let _ = self.program("pg_ctl").args(["-m", "immediate", "-D"]).arg(self.data()).arg("stop").output();
    }
}

/// A way to PostgreSQL that can be made to lose an answer.
pub struct LossyLink {
    port: u16,
    lost: Arc<Mutex<Option<String>>>,
}

impl LossyLink {
    pub fn to(server: &PostgresServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (port, behind) = (listener.local_addr().expect("an address").port(), server.port);
        let lost = Arc::new(Mutex::new(None));
        let shared = lost.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(("127.0.0.1", behind)).expect("PostgreSQL");
                let is_losing = Arc::new(AtomicBool::new(false));
                let ends = |stream: &TcpStream| stream.try_clone().expect("a connection");
                let (near_tx, far_tx, told, lost) = (ends(&near), ends(&far), is_losing.clone(), shared.clone());
                std::thread::spawn(move || {
                    pass(near, far_tx, |bytes| {
                        let mut lost = lost.lock().expect("a question");
                        let is_it = |question: &mut String| String::from_utf8_lossy(bytes).contains(&*question);
                        told.fetch_or(lost.take_if(is_it).is_some(), Ordering::SeqCst);
                        true
                    });
                });
                // What it answers then, it has done.
                std::thread::spawn(move || pass(far, near_tx, |_| !is_losing.load(Ordering::SeqCst)));
            }
        });
        Self { port, lost }
    }

    /// Has the next question that holds `text` be asked, and the connection break before its answer.
    pub fn lose_answer_to(&self, text: &str) {
        *self.lost.lock().expect("a question") = Some(text.to_owned());
    }

    /// Whether there is an answer still to be lost.
    pub fn is_waiting(&self) -> bool {
        self.lost.lock().expect("a question").is_some()
    }
}

/// Passes on what comes while it `goes_on`, and then hangs up on both sides.
fn pass(mut from: TcpStream, mut to: TcpStream, goes_on: impl Fn(&[u8]) -> bool) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !goes_on(&bytes[..count]) || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // One of them may have hung up itself.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn is_root() -> bool {
    run(Command::new("id").arg("-u")) == "0"
}

/// A server that speaks S3 and keeps objects as files. Dropping it kills it.
pub struct ObjectServer {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl ObjectServer {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket");
        let mut server = Self { folder, port: free_port(), process: None };
        server.go_on();
        server
    }

    /// Starts it, also after [`crash`](Self::crash).
    pub fn go_on(&mut self) {
        let program = std::env::var_os("SYRINX_S3_SERVER").expect("SYRINX_S3_SERVER: see `make service-packages`");
        let port = self.port.to_string();
        let mut command = Command::new(program);
        command.args(["--host", "127.0.0.1", "--port", &port, "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]);
        command.arg(self.folder.path()).env("RUST_LOG", "error").stdout(Stdio::null());
        self.process = Some(command.spawn().expect("the server"));
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "the server that speaks S3 does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn crash(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it ran");
            process.wait().expect("an end");
        }
    }

    /// What programs need in their environment to use it.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ]
    }

    /// The files of the bucket's objects below a prefix.
    pub fn folder(&self, prefix: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(prefix)
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        self.crash();
    }
}
