//! Turns GIL traces into an answer.
