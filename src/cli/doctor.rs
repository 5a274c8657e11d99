//! `syrinx doctor`: what Syrinx needs of this machine, what of it is there, and what to do about the rest.

use serde::Serialize;

use super::inspect::grouped;
use super::machine::Machine;
#[cfg(feature = "default-voice")]
use crate::checkpoint::built_in;
use crate::checkpoint::catalogue::PUBLISHED;
use crate::checkpoint::store::ModelsDirectory;
use crate::error::{Error, Result};

/// Arguments of `syrinx doctor`.
#[derive(Clone, Debug, clap::Args)]
pub struct DoctorArgs {
    /// Look for models here instead of `$SYRINX_MODELS` or the user's data directory
    #[arg(long, value_name = "FOLDER")]
    pub models: Option<std::path::PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    /// What it is about: `machine`, `cuda`, `audio`, `models` or `real time`.
    group: &'static str,
    /// What was looked for.
    name: String,
    /// Whether it is there.
    ok: bool,
    /// What was found.
    found: String,
    /// What to do about a gap; nothing where there is none.
    remedy: Option<String>,
}

impl Check {
    fn there(group: &'static str, name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { group, name: name.into(), ok: true, found: found.into(), remedy: None }
    }

    fn gap(group: &'static str, name: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { group, name: name.into(), ok: false, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Prints what is there and what is not. Gaps are no errors: most of what is looked at can be done without.
///
/// # Errors
/// Standard output refuses.
pub fn run(args: &DoctorArgs) -> Result<()> {
    super::print(&describe(args)?)
}

/// What [`run`] prints, without the last line end.
///
/// # Errors
/// There is no directory to look for models in.
pub fn describe(args: &DoctorArgs) -> Result<String> {
    let directory = args.models.clone().map_or_else(ModelsDirectory::of_user, |root| Ok(ModelsDirectory::new(root)))?;
    let checks = [vec![machine()], cuda(), audio(), models(&directory), real_time()].concat();
    if args.json {
        return serde_json::to_string_pretty(&checks).map_err(|error| Error::io("standard output", error.into()));
    }
    Ok(text(&checks))
}

fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    let mut group = "";
    for check in checks {
        if check.group != group {
            group = check.group;
            lines.push(group.to_owned());
        }
        let mark = if check.ok { "ok " } else { "-- " };
        lines.push(format!("  {mark} {:<width$}  {}", check.name, check.found));
        lines.extend(check.remedy.iter().map(|remedy| format!("      {:<width$}  -> {remedy}", "")));
    }
    lines.join("\n")
}

fn machine() -> Check {
    let Machine { cpu, simd, threads, cores } = Machine::here();
    Check::there("machine", "processor", format!("{cpu}, {cores} cores, {threads} threads compute, {simd}"))
}

#[cfg(feature = "cuda-kernels")]
fn cuda() -> Vec<Check> {
    use crate::cuda::{Gap, probe};
    const GROUP: &str = "cuda";
    let gap = |name: &str, Gap { problem, remedy }: Gap| Check::gap(GROUP, name, problem, remedy);
    let version = |[major, minor]: [i32; 2]| format!("for CUDA {major}.{minor}");
    let driver = probe::driver();
    let mut checks = vec![match &driver {
        Ok(found) => Check::there(GROUP, "driver", version(*found)),
        Err(found) => gap("driver", found.clone()),
    }];
    match driver.and_then(|_| probe::gpus()) {
        Ok(gpus) => checks.extend(gpus.into_iter().map(|gpu| {
            let [major, minor] = gpu.capability;
            let memory = gpu.memory_bytes >> 20;
            let found = format!("{}, compute capability {major}.{minor}, {} MiB", gpu.name, grouped(memory));
            Check::there(GROUP, format!("device cuda:{}", gpu.ordinal), found)
        })),
        Err(found) => checks.push(gap("device", found)),
    }
    checks.push(probe::nvrtc().map_or_else(
        |found| gap("NVRTC", found),
        |[major, minor]| Check::there(GROUP, "NVRTC", format!("{major}.{minor}")),
    ));
    #[cfg(feature = "cuda")]
    checks.push(probe::headers().map_or_else(
        |found| gap("headers for +burn", found),
        |folder| Check::there(GROUP, "headers for +burn", folder.display().to_string()),
    ));
    checks
}

/// Without the feature only what the system's own files tell.
#[cfg(not(feature = "cuda-kernels"))]
fn cuda() -> Vec<Check> {
    let driver = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let found = match driver.lines().next() {
        Some(driver) => format!("this build has no CUDA; the system has {}", driver.trim()),
        None => "this build has no CUDA, and the system shows no NVIDIA driver".into(),
    };
    vec![Check::gap("cuda", "CUDA", found, "for an NVIDIA GPU, build with `--features cuda`")]
}

fn audio() -> Vec<Check> {
    const GROUP: &str = "audio";
    let host = |host: crate::io::live::HostInfo| match (host.problem, host.devices.len()) {
        (Some(problem), _) => Check::gap(GROUP, host.host, problem, "start it, or choose another with `--host`"),
        (None, 0) => Check::gap(GROUP, host.host, "no devices", "plug one in, or choose another with `--host`"),
        (None, count) => Check::there(GROUP, host.host, format!("{count} devices (`syrinx devices` lists them)")),
    };
    let mut checks: Vec<Check> = super::devices::hosts().into_iter().map(host).collect();
    if !cfg!(feature = "jack") {
        checks.push(Check::gap(GROUP, "JACK", "not in this build", "build with `--features jack`"));
    }
    if !cfg!(feature = "cpal") {
        checks.push(Check::gap(GROUP, "sound cards", "not in this build", "build with `--features cpal`"));
    }
    checks
}

fn models(directory: &ModelsDirectory) -> Vec<Check> {
    const GROUP: &str = "models";
    let root = directory.root().display();
    let folder = if directory.root().is_dir() {
        Check::there(GROUP, "folder", root.to_string())
    } else {
        Check::gap(GROUP, "folder", format!("{root} is not there"), "make it, or set SYRINX_MODELS")
    };
    let published = PUBLISHED.iter().map(|model| match directory.find(model) {
        Some(path) => Check::there(GROUP, model.name, path.display().to_string()),
        None => Check::gap(GROUP, model.name, format!("missing: {}", model.purpose), format!("see {}", model.source)),
    });
    let voices = match directory.voices().len() {
        0 => Check::gap(GROUP, "voices", "none", "put `.pth` files into `voices` of the folder, or name their paths"),
        count => Check::there(GROUP, "voices", format!("{count} (`syrinx models` lists them)")),
    };
    #[cfg(feature = "default-voice")]
    let built_in = Some(Check::there(GROUP, built_in::NAME, "a voice with all that it needs, inside the program"));
    #[cfg(not(feature = "default-voice"))]
    let built_in = None;
    std::iter::once(folder).chain(built_in).chain(published).chain([voices]).collect()
}

/// What the system lets this user's threads do.
#[cfg(target_os = "linux")]
fn real_time() -> Vec<Check> {
    use nix::sys::resource::{Resource, getrlimit};
    /// What the audio threads ask for.
    const PRIORITY: u64 = 60;
    /// Memory that one live conversion may lock.
    const LOCKED_BYTES: u64 = 64 << 20;
    const GROUP: &str = "real time";
    const LIMITS: &str = "in /etc/security/limits.d/audio.conf, join the group `audio` and log in again";
    let told = |limit: u64| if limit == u64::MAX { "unlimited".into() } else { grouped(limit) };
    let check = |name: &str, resource, least: u64, line: &str| match getrlimit(resource) {
        Ok((soft, _)) if soft >= least => Check::there(GROUP, name, told(soft)),
        Ok((soft, _)) => {
            let found = format!("{}, {} is wanted", told(soft), told(least));
            Check::gap(GROUP, name, found, format!("put `{line}` {LIMITS}"))
        }
        Err(error) => Check::gap(GROUP, name, format!("not told: {error}"), "ask `ulimit -a`"),
    };
    vec![
        check("priority", Resource::RLIMIT_RTPRIO, PRIORITY, "@audio - rtprio 70"),
        check("locked memory, bytes", Resource::RLIMIT_MEMLOCK, LOCKED_BYTES, "@audio - memlock unlimited"),
    ]
}

#[cfg(not(target_os = "linux"))]
fn real_time() -> Vec<Check> {
    vec![Check::there("real time", "priority", "asked of the system when audio starts")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_marked_and_followed_by_what_to_do() {
        let checks = [Check::there("a", "one", "here"), Check::gap("b", "three", "not here", "fetch it")];
        let expected = "a\n  ok  one    here\nb\n  --  three  not here\n             -> fetch it";
        assert_eq!(text(&checks), expected);
    }

    #[test]
    fn every_gap_of_this_machine_has_a_remedy_in_text_and_in_json() {
        let folder = tempfile::tempdir().unwrap();
        let args = |json| DoctorArgs { models: Some(folder.path().join("none")), json };
        let value: serde_json::Value = serde_json::from_str(&describe(&args(true)).unwrap()).unwrap();
        let checks = value.as_array().unwrap();
        for check in checks {
            assert_eq!(check["ok"].as_bool().unwrap(), check["remedy"].is_null(), "{check}");
        }
        for group in ["machine", "cuda", "audio", "models", "real time"] {
            assert!(checks.iter().any(|check| check["group"] == group), "{group}");
        }
        let text = describe(&args(false)).unwrap();
        assert_eq!(text.matches("\n      ").count(), checks.iter().filter(|check| check["ok"] == false).count());
        assert!(text.contains("is not there"), "{text}");
    }
}
