//! Another camera's pictures over WebSocket as a source.

use std::io;
use std::time::Duration;

use camwire::frame::{CaptureError, Clock, Flow, FrameInfo, FrameSource, RepeatFilter};
use camwire::server::{PullError, Reconnect, WebSocketSource};
use camwire::websocket::{Security, Uri};

use crate::clock::HostClock;
use crate::dial::{Incoming, Outgoing, RANDOM, dial};
use crate::login::{Rejected, ServerLogin};

#[derive(Debug, thiserror::Error)]
pub(crate) enum WebSocketError {
    #[error("cannot connect to {0}: {1}")]
    Connect(String, io::Error),
    #[error("{0} answers 401: {text}", text = .1.text(.2))]
    Rejected(String, Rejected, &'static str),
    #[error("{0}: {1}")]
    Stream(String, PullError<io::Error>),
    #[error("no picture from {0} within {1:?}")]
    Silent(String, Duration),
    #[error("{0} sends a message that is no whole JPEG picture")]
    Broken(String),
}

/// Pictures that may be on their way unacknowledged, from a server that is like this one.
const CREDIT: &str = "credit=4";

/// How long a camera may be silent before it is asked anew.
const PATIENCE: Duration = Duration::from_secs(10);

type Stream = WebSocketSource<Incoming, Outgoing, HostClock>;

/// Connects when frames are wanted, and again when the connection is lost, but never more often
/// than [`Reconnect`] allows.
pub(crate) struct WebSocketRelay {
    uri: Uri<'static>,
    login: Option<ServerLogin>,
    clock: HostClock,
    stream: Option<Box<Stream>>,
    reconnect: Reconnect,
    /// This connection has brought a frame.
    brought_frames: bool,
    /// What is known of the last frame of former connections.
    repeat_filter: RepeatFilter,
    /// It has been told that pictures come.
    announced: bool,
}

impl WebSocketRelay {
    /// Of a URL that has been checked.
    pub(crate) fn new(url: &str, login: Option<ServerLogin>, clock: HostClock) -> Option<Self> {
        let target = Uri::parse(url).ok()?.target;
        // Other servers may know nothing of credit, and take it for an error.
        let url = match target.split_once('?') {
            None if target.ends_with("/ws") => format!("{url}?{CREDIT}"),
            Some((path, query)) if path.ends_with("/ws") && !query.contains("credit=") => {
                format!("{url}&{CREDIT}")
            }
            _ => url.to_owned(),
        };
        let uri = Uri::parse(url.leak()).ok()?;
        let repeat_filter = RepeatFilter::new();
        Some(Self {
            uri,
            login,
            clock,
            stream: None,
            reconnect: Reconnect::new(),
            brought_frames: false,
            repeat_filter,
            announced: false,
        })
    }

    fn name(&self) -> String {
        self.uri.authority.to_owned()
    }

    async fn connect(&mut self) -> Result<Stream, WebSocketError> {
        let connected = dial(&self.uri).await;
        let (read, write, _) =
            connected.map_err(|error| WebSocketError::Connect(self.name(), error))?;
        let login = self.login.as_ref().map(ServerLogin::authorization);
        let stream =
            WebSocketSource::connect(read, write, &self.uri, login, self.clock, RANDOM).await;
        stream.map_err(|error| match error {
            PullError::Refused { status: 401 } => {
                let scheme = if self.uri.security == Security::Tls { "wss" } else { "ws" };
                // What it asks for is not known.
                let rejected = Rejected::new(self.login.as_ref(), &[]);
                WebSocketError::Rejected(self.name(), rejected, scheme)
            }
            error => WebSocketError::Stream(self.name(), error),
        })
    }

    fn hang_up(&mut self) {
        self.reconnect.closed(self.clock.now(), core::mem::take(&mut self.brought_frames));
        if let Some(stream) = self.stream.take() {
            self.repeat_filter = stream.repeat_filter();
        }
    }

    async fn next(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<WebSocketError>> {
        if self.stream.is_none() {
            self.reconnect.opened(self.clock.now());
            self.brought_frames = false;
            let stream = self.connect().await.inspect_err(|_| self.hang_up())?;
            self.stream = Some(Box::new(stream.with_repeat_filter(self.repeat_filter)));
            if !self.announced {
                log::info!("relaying {}", self.uri.authority);
                self.announced = true;
            }
        }
        let Some(stream) = &mut self.stream else { return Err(CaptureError::Ended) };
        let captured = stream.capture(buf).await;
        self.brought_frames |= captured.is_ok();
        captured.map_err(|error| match error {
            CaptureError::Broken => WebSocketError::Broken(self.name()).into(),
            error => error.map_source(|error| {
                self.hang_up();
                WebSocketError::Stream(self.name(), error)
            }),
        })
    }
}

impl FrameSource for WebSocketRelay {
    type Error = WebSocketError;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<WebSocketError>> {
        if self.stream.is_none() {
            self.clock.sleep_until(self.reconnect.due()).await;
        }
        match tokio::time::timeout(PATIENCE, self.next(buf)).await {
            Ok(captured) => captured,
            Err(_elapsed) => {
                self.hang_up();
                Err(WebSocketError::Silent(self.name(), PATIENCE).into())
            }
        }
    }

    fn flow(&self) -> Flow {
        self.stream.as_ref().map_or(Flow::OnDemand, |stream| stream.flow())
    }

    /// Disconnects: what the network has queued would be old when it is wanted again. Those who
    /// come then have not had the last frame.
    async fn pause(&mut self) {
        self.stream = None;
        self.repeat_filter = RepeatFilter::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_for_servers_like_this_one() {
        for (url, target) in [
            ("ws://cam/ws", "/ws?credit=4"),
            ("ws://cam/ws?token=T", "/ws?token=T&credit=4"),
            ("ws://cam/ws?credit=1", "/ws?credit=1"),
            ("ws://cam:81/", "/"),
            ("ws://cam:81", ""),
            ("ws://ws", ""),
            ("ws://cam/other?a=b", "/other?a=b"),
        ] {
            let relay = WebSocketRelay::new(url, None, HostClock::start()).unwrap();
            assert_eq!(relay.uri.target, target, "{url}");
        }
    }
}
