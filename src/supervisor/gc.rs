//! Placeholder.

/// What was removed.
#[derive(Debug, Default)]
pub struct Collected {
    pub removed: Vec<String>,
}

pub fn collect() -> Result<Collected, super::Error> {
    Ok(Collected::default())
}
