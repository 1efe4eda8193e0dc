//! Whether a client may do what it requests.

use crate::config::{Config, Cors};
#[cfg(feature = "ingest")]
use crate::http::credentials::BEARER;
use crate::http::credentials::Credentials;
use crate::http::origin::host;

/// What is known of a client while the head of its request is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'c> {
    config: &'c Config,
    is_authorized: bool,
    is_host_allowed: bool,
    /// The request is from a page of another site (Fetch Metadata).
    is_cross_site: bool,
    /// What a camera that pushes must send.
    #[cfg(feature = "ingest")]
    ingest_token: Option<&'static str>,
    #[cfg(feature = "ingest")]
    is_pusher: bool,
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The server is called by a name that it does not have: 403.
    Host,
    /// A page of another site tries to set the camera: 403.
    CrossSite,
    /// The credentials are wrong or missing: 401.
    Credentials,
    /// Those of a camera that pushes are wrong or missing: 401.
    #[cfg(feature = "ingest")]
    Pusher,
}

impl Denial {
    /// What people read.
    pub(crate) const fn reason(self, credentials: &Credentials) -> &'static str {
        match self {
            Self::Host => "not a name of this server",
            Self::CrossSite => "not from a page elsewhere",
            Self::Credentials => credentials.explanation(),
            #[cfg(feature = "ingest")]
            Self::Pusher => "not without the right token",
        }
    }

    /// Status line and fields of the answer.
    pub(crate) const fn status(self, credentials: &Credentials) -> (&'static str, &'static str) {
        match self {
            Self::Host | Self::CrossSite => ("403 Forbidden", ""),
            Self::Credentials => ("401 Unauthorized", credentials.challenge()),
            #[cfg(feature = "ingest")]
            Self::Pusher => ("401 Unauthorized", BEARER),
        }
    }
}

impl<'c> Access<'c> {
    pub(crate) const fn new(config: &'c Config) -> Self {
        Self {
            config,
            is_authorized: false,
            is_host_allowed: true,
            is_cross_site: false,
            #[cfg(feature = "ingest")]
            ingest_token: None,
            #[cfg(feature = "ingest")]
            is_pusher: false,
        }
    }

    /// The same for a server to which cameras push that send this token.
    #[cfg(feature = "ingest")]
    pub(crate) const fn with_ingest_token(self, ingest_token: Option<&'static str>) -> Self {
        Self { ingest_token, ..self }
    }

    /// A field line. Those of other names do not matter.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"authorization") {
            self.is_authorized |= self.config.credentials.allow_authorization(value);
            #[cfg(feature = "ingest")]
            {
                self.is_pusher |= self.pushers().allow_authorization(value);
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            let hosts = self.config.hosts;
            let mut is_allowed = hosts.is_empty();
            for one in hosts {
                is_allowed |= host(value).eq_ignore_ascii_case(one.as_bytes());
            }
            self.is_host_allowed &= is_allowed;
        } else if name.eq_ignore_ascii_case(b"sec-fetch-site") {
            self.is_cross_site |= value.trim_ascii() == b"cross-site";
        }
    }

    /// Whether the client may change something. An image in any page can request any address. Where
    /// the request says that (browsers say it to servers on their own computer, and by TLS), the
    /// page must be of the same site.
    pub(crate) fn check_change(&self) -> Result<(), Denial> {
        if self.is_cross_site && self.config.cors == Cors::SameOrigin {
            Err(Denial::CrossSite)
        } else {
            Ok(())
        }
    }

    /// What a camera that pushes must send.
    #[cfg(feature = "ingest")]
    const fn pushers(&self) -> Credentials {
        Credentials { basic: None, token: self.ingest_token }
    }

    /// Checks a request whose whole head was read. `token` is in its query; `is_push` says that it
    /// is a camera's that pushes.
    pub(crate) fn check(&self, token: Option<&str>, is_push: bool) -> Result<(), Denial> {
        if !self.is_host_allowed {
            return Err(Denial::Host);
        }
        #[cfg(feature = "ingest")]
        if is_push {
            let by_token = token.is_some_and(|token| self.pushers().allow_token(token.as_bytes()));
            return if self.is_pusher || by_token { Ok(()) } else { Err(Denial::Pusher) };
        }
        let _ = is_push;
        let credentials = &self.config.credentials;
        let by_token = || token.is_some_and(|token| credentials.allow_token(token.as_bytes()));
        if credentials.are_required() && !self.is_authorized && !by_token() {
            return Err(Denial::Credentials);
        }
        Ok(())
    }
}
