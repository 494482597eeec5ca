//! The live view of `gilbuild top`: what is shown, how it is drawn, and the terminal that it is drawn on.

pub mod board;
pub mod draw;
pub mod keys;
pub mod screen;
