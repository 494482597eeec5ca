//! Records GIL marker events from running processes.
