//! Real-time priority: asked for, and its refusal explained.

use thread_priority::{RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy};

/// The priority asked for audio: below audio servers, above everything else.
const PRIORITY: u8 = 60;

/// Whether a thread runs with real-time priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Priority {
    /// No one has said.
    #[default]
    Unknown,
    /// It does.
    RealTime,
    /// It was refused.
    Refused,
}

impl Priority {
    /// What a refusal means and how to mend it, in one line; nothing unless it was refused.
    #[must_use]
    pub fn explanation(self) -> Option<String> {
        (self == Self::Refused)
            .then(|| format!("real-time priority refused{}: other programs may interrupt the audio; {REMEDY}", why()))
    }

    /// The same for the thread that converts.
    #[must_use]
    pub fn explanation_of_converter(self) -> Option<String> {
        (self == Self::Refused).then(|| {
            let problem = "real-time priority refused to the converter: other programs may make the voice late";
            format!("{problem}; {REMEDY}")
        })
    }

    pub(super) fn from_code(code: u8) -> Self {
        [Self::Unknown, Self::RealTime, Self::Refused]
            .into_iter()
            .find(|known| *known as u8 == code)
            .unwrap_or_default()
    }
}

/// Why the system refuses, where it can be asked.
#[cfg(target_os = "linux")]
fn why() -> String {
    use nix::sys::resource::{Resource, getrlimit};
    match getrlimit(Resource::RLIMIT_RTPRIO) {
        Ok((most, _)) if most < u64::from(PRIORITY) => {
            format!(" (this user may have {most} at most, {PRIORITY} is needed)")
        }
        _ => String::new(),
    }
}

#[cfg(not(target_os = "linux"))]
fn why() -> String {
    String::new()
}

#[cfg(target_os = "linux")]
const REMEDY: &str = "put `@audio - rtprio 70` into /etc/security/limits.d/audio.conf, join the group `audio` and log in \
                      again (`ulimit -r` then says 70)";
#[cfg(not(target_os = "linux"))]
const REMEDY: &str = "close other programs, or choose a larger block";

/// Asks for real-time priority for the calling thread, which is an audio device's.
#[must_use]
pub fn ask_for_real_time() -> Priority {
    ask_for(PRIORITY)
}

/// Asks for the real-time priority next below `level`, an audio thread's, for the calling thread.
///
/// Nothing lies below the lowest, 1: then the thread stays as it is.
#[must_use]
pub fn ask_below(level: u8) -> Priority {
    if level > 1 { ask_for(level - 1) } else { Priority::Unknown }
}

fn ask_for(level: u8) -> Priority {
    let Ok(value) = ThreadPriorityValue::try_from(level) else { return Priority::Refused };
    #[cfg(unix)]
    let asked = thread_priority::set_thread_priority_and_policy(
        thread_priority::thread_native_id(),
        ThreadPriority::Crossplatform(value),
        ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo),
    );
    #[cfg(not(unix))]
    let asked = thread_priority::set_current_thread_priority(ThreadPriority::Max);
    if asked.is_ok() { Priority::RealTime } else { Priority::Refused }
}

/// Whether the calling thread runs with real-time priority already.
#[must_use]
pub fn of_this_thread() -> Priority {
    #[cfg(unix)]
    match thread_priority::thread_schedule_policy() {
        Ok(ThreadSchedulePolicy::Realtime(_)) => Priority::RealTime,
        Ok(_) => Priority::Refused,
        Err(_) => Priority::Unknown,
    }
    #[cfg(not(unix))]
    Priority::Unknown
}

/// The real-time priority of the calling thread, 1 to 99; 0 if it has none.
pub(super) fn level_of_this_thread() -> u8 {
    #[cfg(unix)]
    match thread_priority::thread_schedule_policy_param(thread_priority::thread_native_id()) {
        Ok((ThreadSchedulePolicy::Realtime(_), params)) => u8::try_from(params.sched_priority).unwrap_or_default(),
        _ => 0,
    }
    // Where audio asks for all there is.
    #[cfg(not(unix))]
    PRIORITY
}
