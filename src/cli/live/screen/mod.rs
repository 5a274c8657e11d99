//! The screen: how a session goes, on the whole terminal, and the keys that steer it.

pub mod draw;
pub mod keys;
pub mod terminal;
pub mod view;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::ColorChoice;
use ratatui::crossterm::event::{Event, poll, read};

pub use view::{About, View};

use self::keys::Key;
use self::terminal::FullScreen;
use super::Wish;
use super::moment::Moment;
use super::remote::Order;
use crate::cli::log::Diversion;
use crate::error::{Error, Result};

/// Time between two pictures.
const FRAME: Duration = Duration::from_millis(40);
/// Messages that are shown at most.
const MESSAGES: usize = 40;

/// The screen of a session. Dropping it gives the terminal back as it was.
pub struct Screen {
    // In this order they go: messages are written to a terminal that is itself again.
    terminal: FullScreen,
    diversion: Diversion,
    about: About,
    color: bool,
    started: Instant,
    drawn: Option<Instant>,
    view: Option<View>,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn start(about: About, color: ColorChoice) -> Result<Self> {
        let color = match color {
            ColorChoice::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        let (diversion, terminal) = (Diversion::start(), FullScreen::start().map_err(refused)?);
        Ok(Self { terminal, diversion, about, color, started: Instant::now(), drawn: None, view: None })
    }

    /// What the keys that were pressed since the last call ask for.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn orders(&mut self) -> Result<(Vec<Order>, Wish)> {
        let mut orders = Vec::new();
        while poll(Duration::ZERO).map_err(refused)? {
            let Event::Key(key) = read().map_err(refused)? else { continue };
            match (keys::meaning(key), &mut self.view) {
                (Some(Key::Order(command)), _) => orders.push(Ok(command)),
                (Some(Key::End), _) => return Ok((orders, Wish::End)),
                (Some(Key::Help), Some(view)) => view.help = !view.help,
                (Some(Key::Back), Some(view)) => view.help = false,
                (Some(Key::ResetPeaks), Some(view)) => view.reset_peaks(),
                _ => {}
            }
            // A key is answered at once.
            self.drawn = None;
        }
        Ok((orders, Wish::GoOn))
    }

    /// Takes note of a moment, and draws it if a picture is due.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn tell(&mut self, moment: Moment) -> Result<()> {
        let view = match &mut self.view {
            Some(view) => {
                view.update(moment);
                view
            }
            none => none.insert(View::new(self.about.clone(), moment, self.color)),
        };
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
            self.drawn = Some(Instant::now());
            view.set_messages(&self.diversion.last(MESSAGES), self.started);
            self.terminal.draw(|frame| draw::draw(frame, view)).map_err(refused)?;
        }
        Ok(())
    }
}

fn refused(error: std::io::Error) -> Error {
    Error::io("the terminal", error)
}
