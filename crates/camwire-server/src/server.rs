use core::fmt::Write as _;
use core::net::SocketAddr;

use camwire_capture::{FrameRing, Settings, SourceStatus};
use camwire_frame::{Clock, Instant, Random};
use camwire_websocket::{Acceptance, Refusal as UpgradeRefusal};
use embassy_futures::select::{Either, select};
use embedded_io_async::Read;
use portable_atomic::{AtomicU32, Ordering};

#[cfg(feature = "ingest")]
use crate::access::BEARER;
use crate::access::{Access, Denial};
use crate::connection::{Connection, Disconnect, Outlet};
use crate::io::WriteVectored;
use crate::request::Target;
use crate::websocket::Upgrade;
use crate::{
    Answer, Application, Config, Exchange, HeadError, HeadReader, Request, RequestError,
    RequestLine, Route, ViewerSlot,
};

const PAGE: &[u8] = include_bytes!("page.html");

/// The page loads nothing but its own pictures and figures, and no other page frames it unasked.
const PAGE_POLICY: &str = "default-src 'none'; img-src 'self' data:; connect-src 'self'; \
    style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// The front door: everything that is the same for all connections.
///
/// It holds no sockets and spawns nothing. The platform accepts connections and calls
/// [`serve`](Self::serve) for each, on tasks of its own.
#[derive(Debug)]
pub struct Server<'s, C, A = ()> {
    pub(crate) ring: &'s FrameRing<'s>,
    pub(crate) status: &'s SourceStatus,
    pub(crate) viewers: &'s [ViewerSlot],
    pub(crate) clock: C,
    pub(crate) random: Random,
    pub(crate) config: Config,
    pub(crate) started: Instant,
    pub(crate) settings: Option<&'s Settings>,
    last_id: AtomicU32,
    application: A,
}

impl<'s, C: Clock> Server<'s, C> {
    /// A server of the pictures in `ring`, which `status` tells about, for as many viewers at
    /// once as there are places in `viewers`.
    ///
    /// The ring needs a place for each viewer, and a few more, so that `/capture` is answered
    /// while every viewer's place is taken.
    ///
    /// `random` makes the boundary of each stream, and the masking keys of a [`push`](Self::push). It must
    /// be unpredictable, or a frame can run a script in the browsers of those that watch ([`Random`]
    /// says where to get it).
    #[must_use]
    pub fn new(
        ring: &'s FrameRing<'s>,
        status: &'s SourceStatus,
        viewers: &'s [ViewerSlot],
        clock: C,
        random: Random,
        config: Config,
    ) -> Self {
        Self {
            ring,
            status,
            viewers,
            started: clock.now(),
            clock,
            random,
            config,
            settings: None,
            last_id: AtomicU32::new(0),
            application: (),
        }
    }

    /// The same server with routes of the application's own.
    #[must_use]
    pub fn with_application<A: Application>(self, application: A) -> Server<'s, C, A> {
        let Self { ring, status, viewers, clock, random, config, started, .. } = self;
        let Self { settings, last_id, .. } = self;
        Server {
            ring,
            status,
            viewers,
            clock,
            random,
            config,
            started,
            settings,
            last_id,
            application,
        }
    }
}

impl<'s, C: Clock, A: Application> Server<'s, C, A> {
    /// The same server with `/status` and `/control`, which show and change these settings. The
    /// other side of them is [`capture_loop_with_settings`](camwire_capture::capture_loop_with_settings).
    #[must_use]
    pub fn with_settings(self, settings: &'s Settings) -> Self {
        Self { settings: Some(settings), ..self }
    }

    /// How it behaves.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The generator that it was given, for what a program needs besides.
    #[must_use]
    pub fn random(&self) -> Random {
        self.random
    }

    /// The clock by which it measures its deadlines.
    #[must_use]
    pub const fn clock(&self) -> &C {
        &self.clock
    }

    /// Serves one connection: one request, and its answer until that has ended.
    ///
    /// The caller closes the transport afterwards. `peer` is for the statistics.
    ///
    /// # Errors
    ///
    /// A [`Disconnect`] if the answer could not be completed. That is how every stream ends, so
    /// it is nothing to worry about.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time, after which the connection must be closed: a
    /// picture may have been sent in part. The transport's `read` and `write` must themselves lose
    /// nothing when they are dropped before they are ready.
    pub async fn serve<R, W>(
        &self,
        read: R,
        write: W,
        peer: Option<SocketAddr>,
    ) -> Result<(), Disconnect<R::Error>>
    where
        R: Read,
        W: WriteVectored<Error = R::Error>,
    {
        let (clock, config) = (&self.clock, &self.config);
        let out = Outlet { write, with_body: true, clock, config };
        let mut connection = Connection { peer, read, out };
        let (request, upgrade) = match self.request(&mut connection).await? {
            None => return Ok(()),
            Some(Ok(request)) => request,
            Some(Err(refusal)) => return self.refuse_request(&mut connection, refusal).await,
        };
        let asked_at = self.clock.now();
        match request.route {
            Route::Page => {
                let (content_type, policy) = ("text/html; charset=utf-8", PAGE_POLICY);
                let page = Answer { content_type, policy, body: PAGE, ..Answer::default() };
                connection.out.answer(&page).await
            }
            Route::Stream(options) => self.stream(&mut connection, options).await,
            Route::WebSocket(options) => match upgrade.unwrap_or(Err(UpgradeRefusal::NoUpgrade)) {
                Ok(acceptance) => self.web_socket(&mut connection, options, &acceptance).await,
                Err(refusal) => self.refuse_upgrade(&mut connection, refusal).await,
            },
            #[cfg(feature = "ingest")]
            Route::Ingest => match upgrade.unwrap_or(Err(UpgradeRefusal::NoUpgrade)) {
                Ok(acceptance) => self.ingest(&mut connection, &acceptance).await,
                Err(refusal) => self.refuse_upgrade(&mut connection, refusal).await,
            },
            Route::Capture => self.capture(&mut connection, asked_at).await,
            Route::Stats => self.stats(&mut connection.out).await,
            Route::Health => self.health(&mut connection.out).await,
            Route::Status => self.settings(&mut connection.out).await,
            Route::Control(setting) => self.control(&mut connection, setting).await,
        }
    }

    /// Reads the request; `None` if the application has answered it. The outer error is the
    /// connection's, the inner one the request's.
    async fn request<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
    ) -> Result<Option<Result<(Request, Upgraded), Refusal>>, Disconnect<R::Error>>
    where
        R: Read,
        W: WriteVectored<Error = R::Error>,
    {
        let mut line = RequestLine::new();
        let (upgrade, access) = match self.read_head(connection, &mut line).await? {
            Ok(asked) => asked,
            Err(error) => return Ok(Some(Err(Refusal::Head(error)))),
        };
        let target = Target::parse(line.as_bytes());
        let token = target.ok().and_then(|target| target.parameter("token"));
        #[cfg(feature = "ingest")]
        let is_pusher = self.config.ingest_token.is_some()
            && target.is_ok_and(|target| target.path == "/ingest");
        #[cfg(feature = "ingest")]
        let checked = if is_pusher { access.check_pusher(token) } else { access.check(token) };
        #[cfg(not(feature = "ingest"))]
        let checked = access.check(token);
        if let Err(denial) = checked {
            return Ok(Some(Err(Refusal::Access(denial))));
        }
        let target = match target {
            #[cfg(feature = "ingest")]
            Ok(target) if target.path == "/ingest" && !is_pusher => {
                return Ok(Some(Err(Refusal::Request(RequestError::NotFound))));
            }
            Ok(target) if self.application.owns(target.path) => target,
            // Without settings these are paths like any other that there is not.
            Ok(target) if self.settings.is_none() && target.is_of_settings() => {
                return Ok(Some(Err(Refusal::Request(RequestError::NotFound))));
            }
            target => {
                let understand = if upgrade.is_some() { Request::of_upgrade } else { Request::of };
                let mut request = target.and_then(understand).map_err(Refusal::Request);
                if matches!(request, Ok(Request { route: Route::Control(_), .. })) {
                    request = match access.check_change() {
                        Ok(()) => request,
                        Err(denial) => Err(Refusal::Access(denial)),
                    };
                }
                return Ok(Some(request.map(|request| (request, upgrade))));
            }
        };
        let Outlet { write, with_body, clock, config } = &mut connection.out;
        let out = Outlet { write, with_body: *with_body, clock, config };
        self.application.answer(Exchange { target, out }).await?;
        if !matches!(target.method, "GET" | "HEAD") {
            connection.drain().await; // It has a body, perhaps.
        }
        Ok(None)
    }

    /// Reads the head of the request. The outer error is the connection's, the inner one the
    /// request's.
    async fn read_head<'a, R, W>(
        &'a self,
        connection: &mut Connection<'_, R, W, C>,
        line: &mut RequestLine,
    ) -> Result<Result<(Upgraded, Access<'a>), HeadError>, Disconnect<R::Error>>
    where
        R: Read,
        W: WriteVectored<Error = R::Error>,
    {
        let deadline = self.clock.now() + self.config.head_timeout;
        let mut head = HeadReader::new(line);
        let mut upgrade = Upgrade::new(&self.config);
        let mut access = Access::new(&self.config);
        let mut buffer = [0; 128];
        loop {
            let read = connection.read.read(&mut buffer);
            let count = match select(read, self.clock.deadline(deadline)).await {
                Either::First(count) => count?,
                Either::Second(()) => return Err(Disconnect::NoRequest),
            };
            let input = buffer.get(..count).unwrap_or_default();
            if input.is_empty() {
                return Err(Disconnect::Closed);
            }
            let mut field = |name: &[u8], value: &[u8]| {
                upgrade.field(name, value);
                access.field(name, value);
            };
            match head.feed(input, &mut field) {
                Ok(None) => {}
                Ok(Some(used)) => {
                    connection.out.with_body = !line.as_bytes().starts_with(b"HEAD ");
                    let upgraded =
                        upgrade.finish(line.as_bytes(), input.len().saturating_sub(used));
                    return Ok(Ok((upgraded, access)));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    async fn refuse_request<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
        refusal: Refusal,
    ) -> Result<(), Disconnect<W::Error>>
    where
        R: Read,
        W: WriteVectored,
    {
        let mut reason = heapless::String::<64>::new();
        let _ = match refusal {
            Refusal::Head(error) => write!(reason, "{error}"),
            Refusal::Request(error) => write!(reason, "{error}"),
            Refusal::Access(Denial::Host) => reason.write_str("not a name of this server"),
            Refusal::Access(Denial::CrossSite) => reason.write_str("not from a page elsewhere"),
            Refusal::Access(Denial::Credentials) => {
                reason.write_str(self.config.credentials.explanation())
            }
            #[cfg(feature = "ingest")]
            Refusal::Access(Denial::Pusher) => reason.write_str("not without the right token"),
        };
        let (status, fields) = match refusal {
            Refusal::Access(Denial::Host | Denial::CrossSite) => ("403 Forbidden", ""),
            Refusal::Access(Denial::Credentials) => {
                ("401 Unauthorized", self.config.credentials.challenge())
            }
            #[cfg(feature = "ingest")]
            Refusal::Access(Denial::Pusher) => ("401 Unauthorized", BEARER),
            Refusal::Head(HeadError::TooLarge) => ("431 Request Header Fields Too Large", ""),
            Refusal::Request(RequestError::NotFound) => ("404 Not Found", ""),
            Refusal::Request(RequestError::Method) => {
                ("405 Method Not Allowed", "Allow: GET, HEAD\r\n")
            }
            Refusal::Request(RequestError::ControlMethod) => {
                ("405 Method Not Allowed", "Allow: GET\r\n")
            }
            Refusal::Head(_) | Refusal::Request(_) => ("400 Bad Request", ""),
        };
        self.refuse(connection, status, fields, &reason).await
    }

    /// A refusal that says when to come again.
    pub(crate) async fn unavailable<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
        reason: &str,
    ) -> Result<(), Disconnect<W::Error>>
    where
        R: Read,
        W: WriteVectored,
    {
        let mut retry = heapless::String::<48>::new();
        let _ = write!(retry, "Retry-After: {}\r\n", self.config.retry_after.as_secs());
        self.refuse(connection, "503 Service Unavailable", &retry, reason).await
    }

    pub(crate) async fn refuse<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
        status: &str,
        fields: &str,
        reason: &str,
    ) -> Result<(), Disconnect<W::Error>>
    where
        R: Read,
        W: WriteVectored,
    {
        let body = reason.as_bytes();
        connection.out.answer(&Answer { status, fields, body, ..Answer::default() }).await?;
        connection.drain().await;
        Ok(())
    }

    /// `/healthz`: whether those who want pictures get them.
    async fn health<W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
    ) -> Result<(), Disconnect<W::Error>> {
        let (status, body): (_, &[u8]) = if self.is_well(self.clock.now()) {
            ("200 OK", b"ok\n")
        } else {
            ("503 Service Unavailable", b"somebody wants pictures and none come\n")
        };
        out.answer(&Answer { status, body, ..Answer::default() }).await
    }

    /// No one has waited for a picture for too long.
    pub(crate) fn is_well(&self, now: Instant) -> bool {
        #[cfg(feature = "ingest")]
        if self.waits_for_camera() {
            return self.is_well_without_camera(now);
        }
        self.status.quiet(now) <= self.config.health_deadline
    }

    pub(crate) fn next_id(&self) -> u32 {
        // Neither 0 nor the largest, which mean something else to a ViewerSlot.
        (self.last_id.fetch_add(1, Ordering::Relaxed) % (u32::MAX - 1)) + 1
    }
}

/// What became of the WebSocket that a client wants, if it wants one.
pub(crate) type Upgraded = Option<Result<Acceptance<'static>, UpgradeRefusal>>;

/// Why a request is answered with an error.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Head(HeadError),
    Access(Denial),
    Request(RequestError),
}
