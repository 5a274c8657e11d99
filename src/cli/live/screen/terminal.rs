//! The terminal, taken over and given back whatever happens.

use std::io::{self, Stdout, stdout};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use tracing::Level;

use crate::cli::log;

/// The terminal as a screen. Dropping it gives the terminal back.
pub struct FullScreen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    _takeover: Takeover,
}

impl FullScreen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn start() -> io::Result<Self> {
        let takeover = Takeover::begin()?;
        Ok(Self { terminal: Terminal::new(CrosstermBackend::new(stdout()))?, _takeover: takeover })
    }

    /// Draws a picture.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(picture).map(|_| ())
    }
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// What was changed about the terminal and the process, to be changed back.
struct Takeover {
    is_up: Arc<AtomicBool>,
    hook: Arc<Hook>,
}

impl Takeover {
    fn begin() -> io::Result<Self> {
        enable_raw_mode()?;
        let is_up = Arc::new(AtomicBool::new(true));
        let hook = Arc::new(panic::take_hook());
        let takeover = Self { is_up: is_up.clone(), hook: hook.clone() };
        let screen = thread::current().id();
        panic::set_hook(Box::new(move |info| {
            if thread::current().id() == screen {
                restore(&is_up);
            }
            if is_up.load(Ordering::Relaxed) {
                // The session goes on: a panic of the converter is caught, and must not write over the picture.
                let name = thread::current().name().unwrap_or("a thread").to_owned();
                let what = info.payload_as_str().unwrap_or("without a message");
                log::keep(Level::ERROR, &format!("{name} panicked: {what}"));
            } else {
                hook(info);
            }
        }));
        execute!(stdout(), EnterAlternateScreen, Clear(ClearType::All), Hide)?;
        Ok(takeover)
    }
}

impl Drop for Takeover {
    fn drop(&mut self) {
        restore(&self.is_up);
        // A thread that is panicking may not change what happens then.
        if !thread::panicking() {
            let hook = self.hook.clone();
            panic::set_hook(Box::new(move |info| hook(info)));
        }
    }
}

/// Gives the terminal back, once.
fn restore(is_up: &AtomicBool) {
    if is_up.swap(false, Ordering::Relaxed) {
        // There is nothing to be done about a terminal that is gone.
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
