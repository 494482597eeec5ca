//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::top::board::Board;

/// Whether the view goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It does.
    Stay,
    /// The user wants to leave.
    Leave,
}

/// Does what a key means.
pub fn press(board: &mut Board, key: KeyEvent) -> After {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && key.code == KeyCode::Char('c') {
        return After::Leave;
    }
    if board.typing {
        match key.code {
            KeyCode::Enter => board.typing = false,
            KeyCode::Esc => {
                board.typing = false;
                board.filter.clear();
            }
            KeyCode::Backspace => {
                board.filter.pop();
            }
            KeyCode::Char(letter) if !control => board.filter.push(letter),
            _ => {}
        }
        board.scroll = 0;
        return After::Stay;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return After::Leave,
        KeyCode::Char('s') => {
            board.sort = board.sort.next();
            board.scroll = 0;
        }
        KeyCode::Char('p' | ' ') => board.paused = !board.paused,
        KeyCode::Char('/') => board.typing = true,
        KeyCode::Down | KeyCode::Char('j') => {
            let last = board.visible().len().saturating_sub(1);
            board.scroll = (board.scroll + 1).min(last);
        }
        KeyCode::Up | KeyCode::Char('k') => board.scroll = board.scroll.saturating_sub(1),
        _ => {}
    }
    After::Stay
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::board::Sort;

    fn type_in(board: &mut Board, text: &str) {
        for letter in text.chars() {
            press(board, KeyEvent::from(KeyCode::Char(letter)));
        }
    }

    #[test]
    fn a_filter_takes_letters_that_are_keys_elsewhere() {
        let mut board = Board::default();
        type_in(&mut board, "/qs");
        assert_eq!(board.filter, "qs");
        press(&mut board, KeyEvent::from(KeyCode::Enter));
        type_in(&mut board, "sp");
        assert_eq!((board.sort, board.paused), (Sort::Wait, true));
        assert_eq!(board.filter, "qs");
        type_in(&mut board, "/");
        press(&mut board, KeyEvent::from(KeyCode::Esc));
        assert_eq!(board.filter, "");
    }

    #[test]
    fn there_are_three_ways_out() {
        let mut board = Board::default();
        for key in [
            KeyEvent::from(KeyCode::Char('q')),
            KeyEvent::from(KeyCode::Esc),
            KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL),
        ] {
            assert_eq!(press(&mut board, key), After::Leave);
        }
    }
}
