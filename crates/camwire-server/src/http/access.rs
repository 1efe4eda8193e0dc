//! Whether a client may do what it requests.

use crate::config::Config;
#[cfg(feature = "ingest")]
use crate::http::credentials::BEARER;
use crate::http::credentials::Credentials;
use crate::http::origin::{Page, host};
use crate::http::target::Target;

/// What is known of a client while the head of its request is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'c> {
    config: &'c Config,
    is_authorized: bool,
    is_host_allowed: bool,
    /// How many `Host` there are.
    hosts: u16,
    /// A secret that browsers do not add by themselves is right.
    has_secret: bool,
    /// What `Origin` says.
    origin: Page,
    /// What `Sec-Fetch-Site` says.
    site: Page,
    /// What `Referer` says.
    referer: Page,
    /// It has the field that neither a form nor an image sends.
    is_scripted: bool,
    /// It looks like a browser's.
    is_browser: bool,
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
    /// A page of another origin tries to set the camera: 403.
    CrossSite,
    /// A browser tries to, and does not say for which page: 403.
    UnknownPage,
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
            Self::UnknownPage => "not from a browser without X-Camwire: 1",
            Self::Credentials => credentials.explanation(),
            #[cfg(feature = "ingest")]
            Self::Pusher => "not without the right token",
        }
    }

    /// Status line and fields of the answer.
    pub(crate) const fn status(self, credentials: &Credentials) -> (&'static str, &'static str) {
        match self {
            Self::Host | Self::CrossSite | Self::UnknownPage => ("403 Forbidden", ""),
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
            hosts: 0,
            has_secret: false,
            origin: Page::Unknown,
            site: Page::Unknown,
            referer: Page::Unknown,
            is_scripted: false,
            is_browser: false,
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
            let is_right = self.config.credentials.allow_authorization(value);
            self.is_authorized |= is_right;
            let is_bearer = value.get(..7).is_some_and(|it| it.eq_ignore_ascii_case(b"bearer "));
            self.has_secret |= is_right && is_bearer;
            #[cfg(feature = "ingest")]
            {
                self.is_pusher |= self.pushers().allow_authorization(value);
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            self.hosts = self.hosts.saturating_add(1);
            self.called(value);
        } else if name.eq_ignore_ascii_case(b"sec-fetch-site") {
            self.site = match value {
                b"same-origin" if self.site != Page::Foreign => Page::Own,
                // Somebody has typed it, or an application has opened it.
                b"none" => self.site,
                _ => Page::Foreign,
            };
        } else if name.eq_ignore_ascii_case(b"x-camwire") {
            self.is_scripted = true;
        } else if name.eq_ignore_ascii_case(b"accept-language") {
            self.is_browser = true;
        } else if name.eq_ignore_ascii_case(b"user-agent") {
            self.is_browser |= contains(value, b"mozilla/");
        } else if name.eq_ignore_ascii_case(b"accept") {
            self.is_browser |= contains(value, b"html") || contains(value, b"image");
        }
    }

    /// The host and port in the target or in `Host`, by which the server is called.
    pub(crate) fn called(&mut self, authority: &[u8]) {
        let hosts = self.config.hosts;
        let mut is_allowed = hosts.is_empty();
        for one in hosts {
            is_allowed |= host(authority).eq_ignore_ascii_case(one.as_bytes());
        }
        self.is_host_allowed = is_allowed;
    }

    /// Whether there are as many `Host` as there must be.
    pub(crate) const fn has_one_host(&self, target: Option<Target<'_>>) -> bool {
        match (self.hosts, target) {
            (0, Some(target)) => !target.needs_host,
            (0 | 1, _) => true,
            _ => false,
        }
    }

    /// The fields have all come, and this is what `Origin` and `Referer` say.
    pub(crate) const fn pages(&mut self, origin: Page, referer: Page) {
        (self.origin, self.referer) = (origin, referer);
    }

    /// Whether the client may change something. An image in any page can request any address, and
    /// browsers do not always say which page that is: to a server elsewhere in the network they send no
    /// `Sec-Fetch-Site` without TLS, and a page can keep them from sending `Referer`. So a browser must
    /// show that the page is the server's own, and scripts and applications, which are no browsers,
    /// need not. `token` is in the query.
    pub(crate) fn check_change(&self, token: Option<&str>) -> Result<(), Denial> {
        for page in [self.origin, self.site, self.referer] {
            match page {
                Page::Own => return Ok(()),
                Page::Foreign => return Err(Denial::CrossSite),
                Page::Unknown => {}
            }
        }
        let credentials = &self.config.credentials;
        let by_token = token.is_some_and(|token| credentials.allow_token(token.as_bytes()));
        // Only a script can add a field, and one of another origin would have to ask before.
        let is_shown = self.is_scripted || self.has_secret || by_token || !self.is_browser;
        if is_shown || self.config.control_get { Ok(()) } else { Err(Denial::UnknownPage) }
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

/// Whether `text` contains `word`, in letters of either case.
fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}
