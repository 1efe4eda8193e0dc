//! Log lines that repeat themselves.

use std::time::{Duration, Instant};

/// Lets a line through unless the same one was logged a short while ago.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    silence: Duration,
    logged: Option<(String, Instant)>,
}

impl LogThrottle {
    /// The same line is logged again after `silence`.
    pub(crate) const fn new(silence: Duration) -> Self {
        Self { silence, logged: None }
    }

    /// Whether to log `text` now. If so, it counts as logged.
    pub(crate) fn lets_through(&mut self, text: &str) -> bool {
        let is_recent =
            |(last, at): &(String, Instant)| last == text && at.elapsed() < self.silence;
        if self.logged.as_ref().is_some_and(is_recent) {
            return false;
        }
        self.logged = Some((text.to_owned(), Instant::now()));
        true
    }

    /// Logs a warning, unless the same one was logged a short while ago.
    pub(crate) fn warn(&mut self, text: &str) {
        if self.lets_through(text) {
            log::warn!("{text}");
        }
    }

    /// What comes next is news, whatever it is.
    pub(crate) fn forget(&mut self) {
        self.logged = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_line_is_let_through_once_in_a_while() {
        let mut throttle = LogThrottle::new(Duration::from_secs(3600));
        assert!(throttle.lets_through("a"));
        assert!(!throttle.lets_through("a"));
        assert!(throttle.lets_through("b"));
        assert!(throttle.lets_through("a"));
        let mut throttle = LogThrottle::new(Duration::ZERO);
        assert!(throttle.lets_through("a") && throttle.lets_through("a"));
    }
}
