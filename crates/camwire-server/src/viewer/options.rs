//! What a viewer asks for.

use core::num::NonZeroU8;
use core::str::FromStr;

use camwire_frame::FrameRate;

use crate::http::target::{RequestError, parameters};

/// Which frames a viewer gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Always the newest.
    #[default]
    Live,
    /// All of them, in order, as far as the ring keeps them.
    All,
}

impl Mode {
    /// As in the query and in `/stats`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::All => "all",
        }
    }
}

/// The query of `/stream`, and of `/ws`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// `mode=live` or `mode=all`; by default as [`Config::mode`](crate::Config::mode) says.
    pub mode: Option<Mode>,
    /// `fps=`: most frames per second.
    pub rate: Option<FrameRate>,
    /// `advance_headers=1`: the head of a part is sent with the end of the part before it, so
    /// that Chromium draws at once; parts have no `Content-Length` then.
    pub advance_headers: bool,
    /// `credit=`, with the subprotocol `camwire.v1`: how many frames may be unacknowledged, 8 at
    /// most.
    pub credit: Option<NonZeroU8>,
}

/// Most frames that a viewer may leave unacknowledged. Their numbers are kept.
pub(crate) const CREDIT_MAX: NonZeroU8 = NonZeroU8::new(8).unwrap();

/// Takes what follows the question mark, perhaps nothing. Unknown names are ignored.
impl FromStr for StreamOptions {
    type Err = RequestError;

    fn from_str(query: &str) -> Result<Self, RequestError> {
        let mut options = Self::default();
        for (name, value) in parameters(query) {
            match (name, value) {
                ("fps", _) => {
                    options.rate = Some(value.parse().map_err(|_| RequestError::Rate)?);
                }
                ("credit", _) => {
                    let credit = value.parse().ok().filter(|credit| *credit <= CREDIT_MAX);
                    options.credit = Some(credit.ok_or(RequestError::Credit)?);
                }
                ("mode", "live") => options.mode = Some(Mode::Live),
                ("mode", "all") => options.mode = Some(Mode::All),
                ("mode", _) => return Err(RequestError::Mode),
                ("advance_headers", "1") => options.advance_headers = true,
                ("advance_headers", "0") => options.advance_headers = false,
                ("advance_headers", _) => return Err(RequestError::AdvanceHeaders),
                _ => {}
            }
        }
        if options.mode == Some(Mode::All) && options.rate.is_some() {
            return Err(RequestError::RateOfAll);
        }
        Ok(options)
    }
}
