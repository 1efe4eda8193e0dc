//! The server: reads the head of a request, checks access, and dispatches.

use core::fmt::Write as _;
use core::net::SocketAddr;

use camwire_capture::{FrameRing, Settings, SourceStatus};
use camwire_frame::{Clock, Random};
use camwire_websocket::Refusal as UpgradeRefusal;
use embedded_io_async::Read;

use crate::config::Config;
use crate::http::access::{Access, Denial};
use crate::http::application::{Application, Exchange, Parts};
use crate::http::body::Incoming;
use crate::http::head::{HeadError, RequestLine};
use crate::http::receive::{Fields, receive_head};
use crate::http::response::{Connection, ResponseWriter};
use crate::http::target::{RequestError, Target};
use crate::http::upgrade::Upgraded;
#[cfg(feature = "cameras")]
use crate::hub::CameraName;
use crate::hub::Hub;
#[cfg(feature = "ingest")]
use crate::relay::ingest::ingest;
use crate::routes::capture::capture;
use crate::routes::control::{control, status};
use crate::routes::health::health;
#[cfg(feature = "cameras")]
use crate::routes::overview::{Overview, directory, overview};
use crate::routes::page::PAGE;
use crate::routes::request::{Request, Route};
use crate::routes::stats::stats;
use crate::routes::stream::stream;
use crate::routes::websocket::{refuse, websocket};
use crate::sender::{Disconnect, Sender};
use crate::transport::WriteVectored;
use crate::viewer::slot::ViewerSlot;
use crate::viewer::v1::PROTOCOLS;

/// An HTTP server of one camera, or with the feature `cameras` of several.
///
/// It holds no sockets and spawns nothing. The platform accepts connections and calls
/// [`serve`](Self::serve) for each, on tasks of its own. What its connections share is its
/// [`Hub`], which other outputs use, too.
#[derive(Debug)]
pub struct Server<'s, C, A = ()> {
    cameras: Cameras<'s, C>,
    application: A,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // There is one of it, and no heap to put it on.
enum Cameras<'s, C> {
    One(Hub<'s, C>),
    /// With the first of them, which there is.
    #[cfg(feature = "cameras")]
    Several(&'s Hub<'s, C>, &'s [Hub<'s, C>]),
}

impl<'s, C: Clock> Server<'s, C> {
    /// A server of the frames in `ring`: `Server::from(Hub::new(...))`. [`Hub::new`] has the
    /// arguments.
    #[must_use]
    pub fn new(
        ring: &'s FrameRing<'s>,
        status: &'s SourceStatus,
        viewers: &'s [ViewerSlot],
        clock: C,
        random: Random,
        config: Config,
    ) -> Self {
        Self::from(Hub::new(ring, status, viewers, clock, random, config))
    }

    /// The same server with routes of the application's own.
    #[must_use]
    pub fn with_application<A: Application>(self, application: A) -> Server<'s, C, A> {
        Server { cameras: self.cameras, application }
    }
}

impl<'s, C> From<Hub<'s, C>> for Server<'s, C> {
    fn from(hub: Hub<'s, C>) -> Self {
        Self { cameras: Cameras::One(hub), application: () }
    }
}

#[cfg(feature = "cameras")]
impl<'s, C: Clock> Server<'s, C> {
    /// A server of several cameras: `/NAME/` is the page of each, `/NAME/stream` its stream, and so on
    /// with every path of a server of one. `/` shows all of them, and `/stats`, `/healthz` and
    /// `/metrics` are about all.
    ///
    /// Logins, `hosts`, `origins` and `cors` are those of the first camera's [`Config`]. Cameras may push
    /// to those that have an `ingest_token`, all with the token of the first that has one. The rest of
    /// the configuration is each camera's own, and so are the places for viewers.
    ///
    /// `None` if there are none, or not all of them have a name of their own.
    #[must_use]
    pub fn of_cameras(cameras: &'s [Hub<'s, C>]) -> Option<Self> {
        let mut rest = cameras;
        while let [camera, others @ ..] = rest {
            camera.name()?;
            if others.iter().any(|other| other.name() == camera.name()) {
                return None;
            }
            rest = others;
        }
        let cameras = Cameras::Several(cameras.first()?, cameras);
        Some(Self { cameras, application: () })
    }
}

impl<'s, C: Clock, A: Application> Server<'s, C, A> {
    /// The same server with `/status` and `/control`, which show and change these settings, as
    /// [`Hub::with_settings`]. Of several cameras, each has its own already, and this does nothing.
    #[must_use]
    pub fn with_settings(self, settings: &'s Settings) -> Self {
        let cameras = match self.cameras {
            Cameras::One(hub) => Cameras::One(hub.with_settings(settings)),
            #[cfg(feature = "cameras")]
            several @ Cameras::Several(..) => several,
        };
        Self { cameras, ..self }
    }

    /// The camera, for outputs that are not HTTP; the first one if there are several.
    #[must_use]
    pub const fn hub(&self) -> &Hub<'s, C> {
        match &self.cameras {
            Cameras::One(hub) => hub,
            #[cfg(feature = "cameras")]
            Cameras::Several(first, _) => first,
        }
    }

    /// All cameras.
    #[must_use]
    pub const fn hubs(&self) -> &[Hub<'s, C>] {
        match &self.cameras {
            Cameras::One(hub) => core::slice::from_ref(hub),
            #[cfg(feature = "cameras")]
            Cameras::Several(_, all) => all,
        }
    }

    /// Logins, limits and deadlines.
    #[must_use]
    pub const fn config(&self) -> &Config {
        self.hub().config()
    }

    /// Serves one connection: one request, and its answer until that has ended.
    ///
    /// The caller closes the transport afterwards. `peer` is for the statistics.
    ///
    /// # Errors
    ///
    /// A [`Disconnect`] if the answer could not be completed. Every stream ends that way, so it is
    /// no reason for concern.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time, after which the connection must be closed: a frame
    /// may have been sent in part. The transport's `read` and `write` must themselves lose nothing
    /// when they are dropped before they are ready.
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
        let hub = self.hub();
        let out = ResponseWriter::new(Sender::new(write, hub.clock(), hub.config()));
        let mut connection = Connection { peer, read, out };
        let (hub, request, upgraded) = match self.receive(&mut connection).await? {
            Received::Answered => return Ok(()),
            Received::Request(hub, request, upgraded) => (hub, request, upgraded),
            Received::Refused(refusal) => return self.refuse(&mut connection, refusal).await,
            #[cfg(feature = "cameras")]
            Received::Overview(route) => {
                return overview(self.hubs(), &mut connection.out, route).await;
            }
            #[cfg(feature = "cameras")]
            Received::Directory(name) => return directory(&mut connection.out, name).await,
        };
        let received_at = hub.clock().now();
        // Only with the fields of a handshake is there anything to accept.
        let upgraded = upgraded.unwrap_or(Err(UpgradeRefusal::NoUpgrade));
        match (request.route, upgraded) {
            (Route::Page, _) => connection.out.answer(&PAGE).await,
            (Route::Stream(options), _) => stream(hub, &mut connection, options).await,
            (Route::WebSocket(options), Ok(acceptance)) => {
                websocket(hub, &mut connection, options, &acceptance).await
            }
            #[cfg(feature = "ingest")]
            (Route::Ingest, Ok(acceptance)) => ingest(hub, &mut connection, &acceptance).await,
            #[cfg(feature = "ingest")]
            (Route::Ingest, Err(refusal)) => refuse(&mut connection, refusal).await,
            (Route::WebSocket(_), Err(refusal)) => refuse(&mut connection, refusal).await,
            (Route::Capture, _) => capture(hub, &mut connection, received_at).await,
            (Route::Stats, _) => stats(hub, &mut connection.out).await,
            (Route::Health, _) => health(hub, &mut connection.out).await,
            (Route::Status, _) => status(hub, &mut connection.out).await,
            (Route::Control(setting), _) => control(hub, &mut connection, setting).await,
        }
    }

    /// Receives a request, and answers it if it is the application's.
    async fn receive<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
    ) -> Result<Received<'_, 's, C>, Disconnect<R::Error>>
    where
        R: Read,
        W: WriteVectored<Error = R::Error>,
    {
        let (clock, config) = (self.hub().clock(), self.config());
        let mut line = RequestLine::new();
        let access = Access::new(config);
        #[cfg(feature = "ingest")]
        let access = access.with_ingest_token(self.ingest_token());
        let (read, rules) = (&mut connection.read, (config, access));
        let head = receive_head(read, clock, rules, PROTOCOLS, &mut line).await?;
        let Fields { upgraded, access, body } = match head {
            Ok(fields) => fields,
            Err(error) => return Ok(Received::Refused(Refusal::Head(error))),
        };
        connection.out.with_body = !line.as_bytes().starts_with(b"HEAD ");
        let target = match self.route(line.as_bytes(), upgraded, &access) {
            Routed::Server(received) => return Ok(received),
            Routed::Application(target) => target,
        };
        let may_have_body = !matches!(target.method, "GET" | "HEAD");
        {
            let Connection { read, out, .. } = &mut *connection;
            let incoming = Incoming { read, early: line.early(), fields: body };
            let parts = &mut Parts { target, incoming, out: out.reborrow() };
            self.application.answer(Exchange { parts }).await?;
        }
        if may_have_body {
            connection.drain().await; // It need not have been read.
        }
        Ok(Received::Answered)
    }

    /// The token of cameras that push, which they share.
    #[cfg(feature = "ingest")]
    fn ingest_token(&self) -> Option<&'static str> {
        self.hubs().iter().find_map(|hub| hub.config().ingest_token)
    }

    /// Decides what becomes of a request whose head has come.
    fn route<'l>(
        &self,
        line: &'l [u8],
        upgraded: Upgraded,
        access: &Access<'_>,
    ) -> Routed<'l, '_, 's, C> {
        let target = Target::parse(line);
        let found = target.ok().and_then(|target| self.camera_of(target));
        let is_push = found.is_some_and(|(hub, target)| takes_push(hub, target));
        let token = target.ok().and_then(|target| target.parameter("token"));
        if let Err(denial) = access.check(token, is_push) {
            return Routed::Server(Received::Refused(Refusal::Access(denial)));
        }
        let target = match target {
            Ok(target) => target,
            Err(error) => return Routed::Server(Received::Refused(Refusal::Request(error))),
        };
        if !is_push && self.application.owns(target.path) {
            return Routed::Application(target);
        }
        #[cfg(feature = "cameras")]
        if let Some(route) = Overview::of(target, found.is_none()) {
            return Routed::Server(match target.method() {
                Ok(_) => Received::Overview(route),
                Err(error) => Received::Refused(Refusal::Request(error)),
            });
        }
        #[cfg(feature = "cameras")]
        if let Some((hub, Target { path: "", .. })) = found
            && let Some(name) = hub.name()
        {
            return Routed::Server(Received::Directory(name));
        }
        let understand = if upgraded.is_some() { Request::of_upgrade } else { Request::of };
        let known = found.filter(|(hub, target)| is_known(hub, *target));
        let request = known.ok_or(RequestError::NotFound);
        let request = request.and_then(|(hub, target)| Ok((hub, understand(target)?)));
        Routed::Server(match request {
            Err(error) => Received::Refused(Refusal::Request(error)),
            Ok((hub, request)) => match (request.route, access.check_change()) {
                (Route::Control(_), Err(denial)) => Received::Refused(Refusal::Access(denial)),
                _ => Received::Request(hub, request, upgraded),
            },
        })
    }

    /// The camera that a request is for, and the request as a server of that camera alone would get
    /// it.
    fn camera_of<'l>(&self, target: Target<'l>) -> Option<(&Hub<'s, C>, Target<'l>)> {
        #[cfg(feature = "cameras")]
        for hub in self.hubs() {
            if let Some(path) = hub.name().and_then(|name| name.rest_of(target.path)) {
                return Some((hub, Target { path, ..target }));
            }
        }
        match &self.cameras {
            Cameras::One(hub) => Some((hub, target)),
            #[cfg(feature = "cameras")]
            Cameras::Several(..) => None,
        }
    }

    async fn refuse<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
        refusal: Refusal,
    ) -> Result<(), Disconnect<W::Error>>
    where
        R: Read,
        W: WriteVectored,
    {
        let credentials = &self.config().credentials;
        let mut reason = heapless::String::<64>::new();
        let _ = match refusal {
            Refusal::Head(error) => write!(reason, "{error}"),
            Refusal::Request(error) => write!(reason, "{error}"),
            Refusal::Access(denial) => reason.write_str(denial.reason(credentials)),
        };
        let (status, fields) = match refusal {
            Refusal::Access(denial) => denial.status(credentials),
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
        connection.refuse(status, fields, &reason).await
    }
}

/// Whether this is where a camera pushes its frames, and one may.
fn takes_push<C>(hub: &Hub<'_, C>, target: Target<'_>) -> bool {
    #[cfg(feature = "ingest")]
    return hub.takes_pushes() && target.path == "/ingest";
    #[cfg(not(feature = "ingest"))]
    {
        let _ = (hub, target);
        false
    }
}

/// Whether the camera has that which the path is about: settings, or a token for cameras.
fn is_known<C: Clock>(hub: &Hub<'_, C>, target: Target<'_>) -> bool {
    match target.path {
        "/status" | "/control" => hub.settings().is_some(),
        "/ingest" => takes_push(hub, target),
        _ => true,
    }
}

/// What became of a request whose head has come.
enum Received<'h, 's, C> {
    /// The application has answered it.
    Answered,
    /// It is for a route of a camera.
    Request(&'h Hub<'s, C>, Request, Upgraded),
    /// It is about all cameras.
    #[cfg(feature = "cameras")]
    Overview(Overview),
    /// It is for the page of that camera, without the last slash.
    #[cfg(feature = "cameras")]
    Directory(CameraName<'h>),
    /// It is answered with an error.
    Refused(Refusal),
}

/// Who answers a request.
enum Routed<'l, 'h, 's, C> {
    Application(Target<'l>),
    Server(Received<'h, 's, C>),
}

/// Why a request is answered with an error.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Head(HeadError),
    Access(Denial),
    Request(RequestError),
}
