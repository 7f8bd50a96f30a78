//! What this host can do, probed once.
