//! Draws the board: the same board and size give the same picture.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Sparkline, Table};

use crate::top::board::{Board, Row, Sort};

/// How wide the bars are at most.
const BAR: u16 = 12;
/// What else of a line is taken: names, numbers, and the figures beside the bars.
const REST: u16 = 17 + 1 + 8 + 1 + 9 + 9 + 1 + 9 + 1 + 9 + 1 + 7;
/// A column of process ids.
const PROCESS: u16 = 9;

/// Draws it.
pub fn draw(board: &Board, colours: bool, frame: &mut Frame) {
    let [head, curve, table, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(3),
        Constraint::Min(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(heading(board, colours)), head);
    draw_curve(board, colours, frame, curve);
    draw_table(board, colours, frame, table);
    frame.render_widget(Paragraph::new(footing(board)), foot);
}

fn heading(board: &Board, colours: bool) -> Vec<Line<'_>> {
    let strong = Style::new().add_modifier(Modifier::BOLD);
    let held = match (colours, board.utilisation) {
        (true, 0.9..) => strong.fg(Color::Red),
        (true, 0.5..) => strong.fg(Color::Yellow),
        (true, _) => strong.fg(Color::Green),
        (false, _) => strong,
    };
    let mut title = vec![Span::styled(board.title.as_str(), strong)];
    if board.processes != 1 {
        title.push(Span::raw(format!("  {} processes", board.processes)));
    }
    if board.paused {
        title.push(Span::styled("  paused", strong));
    }
    if board.lost > 0 {
        let lost = format!("  {} cycles are missing: too many threads", board.lost);
        title.push(Span::styled(lost, strong));
    }
    let mut figures = vec![
        Span::raw(if board.gils > 1 {
            format!("{} GILs, the busiest held ", board.gils)
        } else {
            "GIL held ".to_owned()
        }),
        Span::styled(format!("{:5.1} %", board.utilisation * 100.0), held),
        Span::raw(format!(
            "   {:.2} threads wait   {} threads active",
            board.wait_ratio,
            board.rows.len()
        )),
    ];
    if board.rows.is_empty() {
        figures.push(Span::raw("   nobody has taken or dropped it"));
    }
    vec![Line::from(title), Line::from(figures)]
}

/// The newest moments that fit, at the right.
fn draw_curve(board: &Board, colours: bool, frame: &mut Frame, area: Rect) {
    let width = usize::from(area.width);
    let known: Vec<u64> = board.history.iter().copied().collect();
    let newest = &known[known.len().saturating_sub(width)..];
    let mut moments = vec![0; width.saturating_sub(newest.len())];
    moments.extend(newest);
    let style = if colours {
        Style::new().fg(Color::Cyan)
    } else {
        Style::new()
    };
    let curve = Sparkline::default().data(moments).max(1000).style(style);
    frame.render_widget(curve, area);
}

fn draw_table(board: &Board, colours: bool, frame: &mut Frame, area: Rect) {
    let rows = board.visible();
    let several = board.processes != 1;
    let rest = if several { REST + PROCESS } else { REST };
    let width = (area.width.saturating_sub(rest) / 2).min(BAR);
    let shown = rows.iter().skip(board.scroll).map(|row| {
        let mut cells = vec![Cell::from(row.name.as_str())];
        if several {
            cells.push(Cell::from(format!("{:>8}", row.pid)));
        }
        cells.extend(figures(row, usize::from(width), colours));
        Cells::new(cells)
    });
    let mark = |sort: Sort, name: &str| {
        if board.sort == sort {
            format!("{name} ▾")
        } else {
            name.to_owned()
        }
    };
    let mut heads = vec![mark(Sort::Name, "thread")];
    let mut widths = vec![Constraint::Length(17)];
    if several {
        heads.push(format!("{:>8}", "process"));
        widths.push(Constraint::Length(8));
    }
    heads.extend([
        format!("{:>8}", "tid"),
        mark(Sort::Hold, "holds"),
        mark(Sort::Wait, "waits"),
        format!("{:>9}", "holds/s"),
        format!("{:>9}", mark(Sort::Asked, "asked/s")),
        format!("{:>7}", "blame"),
    ]);
    let bar = Constraint::Length(width + 8);
    widths.extend([
        Constraint::Length(8),
        bar,
        bar,
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(7),
    ]);
    let table = Table::new(shown, widths)
        .header(Cells::new(heads).style(Style::new().add_modifier(Modifier::UNDERLINED)))
        .column_spacing(1);
    frame.render_widget(table, area);
}

fn figures(row: &Row, width: usize, colours: bool) -> [Cell<'static>; 6] {
    let colour = |colour| {
        if colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    };
    [
        Cell::from(format!("{:>8}", row.tid)),
        Cell::from(Span::styled(bar(row.hold, width), colour(Color::Blue))),
        Cell::from(Span::styled(bar(row.wait, width), colour(Color::Red))),
        Cell::from(format!("{:>9.0}", row.holds_per_second)),
        Cell::from(format!("{:>9.1}", row.asked_per_second)),
        Cell::from(format!("{:>5.0} %", row.blame * 100.0)),
    ]
}

/// A bar of eighths of a letter, and the share in per cent.
fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = share.clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share is between 0 and 1, and a bar is short"
    )]
    let eighths = (share * (width * 8) as f64).round() as usize;
    let bar = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    format!("{bar:<width$} {:>5.1} %", share * 100.0)
}

fn footing(board: &Board) -> Line<'_> {
    if board.typing {
        return Line::from(format!(
            "filter: {}_   Enter keeps it, Esc clears it",
            board.filter
        ));
    }
    let mut text = format!(
        "q quit  s sort: {}  p {}  / filter",
        board.sort.name(),
        if board.paused { "go on" } else { "pause" }
    );
    if !board.filter.is_empty() {
        text.push_str(": ");
        text.push_str(&board.filter);
    }
    text.push_str("  ↑↓ scroll");
    Line::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn board() -> Board {
        let row = |name: &str, tid, hold, wait, blame| Row {
            pid: 7,
            tid,
            gil: 1,
            name: name.to_owned(),
            hold,
            wait,
            holds_per_second: 27.0,
            asked_per_second: 0.5,
            blame,
        };
        let mut board = Board::new("process 7, Python 3.13.5".to_owned());
        board.processes = 1;
        board.gils = 1;
        board.utilisation = 0.98;
        board.wait_ratio = 0.5;
        board.rows = vec![
            row("io-1", 9, 0.0, 0.5, 0.0),
            row("cpu", 8, 0.98, 0.01, 1.0),
        ];
        board.history = [0, 500, 1000].into();
        board
    }

    fn picture(board: &Board, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(board, false, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        (0..height)
            .map(|y| {
                let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
                line.trim_end().to_owned()
            })
            .collect()
    }

    #[test]
    fn the_picture_of_a_board() {
        let picture = picture(&board(), 100, 9);
        assert_eq!(picture[0], "process 7, Python 3.13.5");
        assert_eq!(
            picture[1],
            "GIL held  98.0 %   0.50 threads wait   2 threads active"
        );
        assert!(
            picture[4].ends_with("▄█") || picture[4].ends_with("██"),
            "{picture:#?}"
        );
        assert_eq!(
            picture[5],
            "thread                 tid holds ▾              waits                  holds/s   asked/s   blame"
        );
        assert_eq!(
            picture[6],
            "cpu                      8 ███████████▊  98.0 % ▏              1.0 %        27       0.5   100 %"
        );
        assert_eq!(
            picture[7],
            "io-1                     9                0.0 % ██████        50.0 %        27       0.5     0 %"
        );
        assert_eq!(
            picture[8],
            "q quit  s sort: hold  p pause  / filter  ↑↓ scroll"
        );
    }

    #[test]
    fn processes_are_told_apart_and_a_filter_is_shown() {
        let mut board = board();
        board.processes = 2;
        board.filter = "cpu".to_owned();
        board.paused = true;
        let picture = picture(&board, 110, 9).join("\n");
        assert!(picture.contains("2 processes  paused"), "{picture}");
        assert!(
            picture.contains("cpu                      7        8 █"),
            "{picture}"
        );
        assert!(!picture.contains("io-1"), "{picture}");
        assert!(picture.contains("p go on  / filter: cpu"), "{picture}");
    }

    #[test]
    fn bars_give_way_to_figures() {
        let picture = picture(&board(), 80, 9);
        assert!(picture[6].contains("98.0 %"), "{picture:#?}");
        assert!(picture[6].ends_with("100 %"), "{picture:#?}");
    }

    #[test]
    fn any_size_will_do() {
        for (width, height) in [(1, 1), (10, 3), (300, 4), (5, 60)] {
            picture(&board(), width, height);
        }
    }
}
