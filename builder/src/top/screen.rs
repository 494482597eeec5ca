//! The terminal, taken over for a while: whatever happens, it is given back as it was.

use std::io::{self, Stdout};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};

use rustix::event::{PollFd, PollFlags, poll};

use crate::top::board::Board;
use crate::top::draw;

/// The terminal, until it is dropped.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    colours: bool,
}

impl Screen {
    /// Takes it over: another page, no echo. A panic gives it back before its message comes.
    ///
    /// # Errors
    /// When it is no terminal.
    pub fn take() -> io::Result<Self> {
        Ok(Self {
            terminal: ratatui::try_init()?,
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        })
    }

    /// Draws a board.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, board: &Board) -> io::Result<()> {
        let colours = self.colours;
        self.terminal
            .draw(|frame| draw::draw(board, colours, frame))?;
        Ok(())
    }

    /// The next key that is there already; also `None` for another size, which the next drawing sees to.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn key(&self) -> io::Result<Option<KeyEvent>> {
        // crossterm reads the end of a terminal that has gone for ever.
        while !has_hung_up() && event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
            {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

/// Whether the terminal is gone: its window was closed, or the connection is down.
#[must_use]
pub fn has_hung_up() -> bool {
    let stdin = rustix::stdio::stdin();
    let mut handles = [PollFd::new(&stdin, PollFlags::IN)];
    let now = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    poll(&mut handles, Some(&now)).is_ok() && handles[0].revents().intersects(gone)
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = ratatui::try_restore();
    }
}
