//! Audio servers of a test's own, and processes that can be killed with whatever hangs in them.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs `body` in a process of its own, with these variables in its environment, for at most two minutes.
///
/// Audio libraries choose their server by environment, and keep threads and locks of a server that hangs.
/// `name` is the test's full name.
pub fn apart(name: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    apart_for(Duration::from_mins(2), name, environment, body);
}

/// The same for at most `limit`.
pub fn apart_for(limit: Duration, name: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    const MARK: &str = "SYRINX_TEST_APART";
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    forget_dead_servers();
    let program = std::env::current_exe().expect("this program");
    let mut test = Command::new(program);
    test.args([name, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"]).env(MARK, "1");
    let mut process = test.envs(environment.iter().copied()).spawn().expect("a process");
    let start = Instant::now();
    let status = loop {
        match process.try_wait().expect("a process of ours") {
            Some(status) => break status,
            None if start.elapsed() > limit => {
                process.kill().expect("a process of ours");
                panic!("{name} hung");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert!(status.success(), "{name}: {status}");
}

/// Removes what JACK servers that were killed have left, unless a server runs: JACK counts them, and one that is killed at
/// a bad moment leaves the registry of servers locked, in which all others then wait.
fn forget_dead_servers() {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut programs = processes.filter_map(|process| std::fs::read_to_string(process.path().join("comm")).ok());
    if programs.any(|program| program.starts_with("jackd")) {
        return;
    }
    for left in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if left.file_name().to_string_lossy().starts_with("jack") {
            // Folders and files; whatever stays is no worse than before.
            let _ = std::fs::remove_file(left.path()).or_else(|_| std::fs::remove_dir_all(left.path()));
        }
    }
    // The registry's lock, by the key that JACK gives it.
    let _ = Command::new("ipcrm").args(["-S", "0x00282929"]).stderr(Stdio::null()).status();
}

/// A server that dies with the test that started it.
pub struct Server {
    process: Child,
}

impl Server {
    /// Starts a program.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        Self::run(program, arguments, None, Stdio::null())
    }

    /// The same with a variable in its environment, and what it says in a file.
    #[cfg(feature = "pipewire")]
    pub fn start_telling(program: &str, arguments: &[&str], variable: (&str, &str), log: &std::path::Path) -> Self {
        let log = std::fs::File::create(log).expect("a log");
        Self::run(program, arguments, Some(variable), Stdio::from(log))
    }

    fn run(program: &str, arguments: &[&str], variable: Option<(&str, &str)>, log: Stdio) -> Self {
        let mut server = Command::new("setpriv");
        server.args(["--pdeathsig", "KILL", program]).args(arguments).envs(variable);
        let process = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        Self { process: process.unwrap_or_else(|error| panic!("{program}: {error}")) }
    }

    /// Kills it, without a word of warning.
    pub fn kill(mut self) {
        self.end();
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.process.id().to_string()]).status();
        assert!(status.expect("kill").success());
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Asks it to end, so that it leaves nothing behind: a machine has room for eight JACK servers, dead ones included.
    fn end_in_peace(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        let start = Instant::now();
        while self.process.try_wait().is_ok_and(|status| status.is_none()) && start.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.end();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            self.end_in_peace();
        }
    }
}

/// Waits until `condition` holds, and fails after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
