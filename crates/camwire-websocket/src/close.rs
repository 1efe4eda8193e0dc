use core::fmt;

use crate::event::DecodeErrorKind;
use crate::utf8::Utf8;

/// Why a connection is closed (RFC 6455, section 7.4). Only codes that may be sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The connection has done what it was for.
    pub const NORMAL: Self = Self(1000);
    /// The server stops, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke a rule of the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A message of a kind (text, binary) that is not accepted here.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// A message is not what its kind says: text that is no UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The peer broke a rule of the application, and no other code fits.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message is too long for this end.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// The client needs an extension that the server did not agree to.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// The server cannot go on, and it is not the client's fault.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server starts anew; come back.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server has too much to do; come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// A code, if it may be sent: 1000 to 1003, 1007 to 1014, 3000 to 4999.
    ///
    /// 1004, 1005, 1006 and 1015 have a meaning, but never travel; the others below 3000 are not
    /// given out.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a Close frame says, if it says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    code: CloseCode,
    reason: &'a [u8],
}

impl<'a> Close<'a> {
    /// Most bytes of a reason that can be sent.
    pub const REASON_MAX: usize = 123;

    /// The code alone.
    #[must_use]
    pub const fn new(code: CloseCode) -> Self {
        Self::with_reason(code, "")
    }

    /// The code, and the same for people who debug.
    #[must_use]
    pub const fn with_reason(code: CloseCode, reason: &'a str) -> Self {
        Self { code, reason: reason.as_bytes() }
    }

    /// Why.
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason; may be empty.
    #[must_use]
    pub fn reason(&self) -> &'a str {
        // It is UTF-8. Whoever does not ask for it need not have the code that says so again.
        str::from_utf8(self.reason).unwrap_or_default()
    }

    /// The payload of a Close frame (section 5.5.1).
    pub(crate) fn parse(payload: &'a [u8]) -> Result<Option<Self>, DecodeErrorKind> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            let empty = payload.is_empty();
            return if empty { Ok(None) } else { Err(DecodeErrorKind::CloseLength) };
        };
        let code = u16::from_be_bytes(*code);
        let code = CloseCode::new(code).ok_or(DecodeErrorKind::CloseCode { code })?;
        let mut utf8 = Utf8::START;
        if utf8.push(reason).is_err() || !utf8.is_complete() {
            return Err(DecodeErrorKind::InvalidUtf8);
        }
        Ok(Some(Self { code, reason }))
    }

    /// The same in two pieces.
    pub(crate) const fn payload(&self) -> ([u8; 2], &'a [u8]) {
        (self.code.0.to_be_bytes(), self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let allowed = |code: u16| {
            let reserved = [1004, 1005, 1006, 1015].contains(&code);
            (1000..1015).contains(&code) && !reserved || (3000..5000).contains(&code)
        };
        for code in 0..=u16::MAX {
            assert_eq!(CloseCode::new(code).map(CloseCode::get), allowed(code).then_some(code));
        }
    }
}
