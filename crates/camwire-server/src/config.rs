use core::time::Duration;

use crate::http::credentials::Credentials;
use crate::viewer::options::Mode;

/// Whether pages of other origins may read what the server sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// They may show the pictures, as any page may, but not read them.
    #[default]
    SameOrigin,
    /// `Access-Control-Allow-Origin: *` with every answer.
    AnyOrigin,
}

/// How a [`Server`](crate::Server) behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Whether pages of other origins may read what the server sends.
    pub cors: Cors,
    /// What a request must bring along. By default nothing.
    pub credentials: Credentials,
    /// What a camera must bring along that pushes its pictures to `/ingest`: this token, and
    /// nothing else, as for [`Credentials::token`]. Without one there is no such path.
    #[cfg(feature = "ingest")]
    pub ingest_token: Option<&'static str>,
    /// The names that the server answers to, without ports: others in `Host` get a 403. By default
    /// it answers to all. A server that only this computer can reach should know its names: a page
    /// of anybody's can make its own name lead there, and then read what it gets (DNS rebinding).
    pub hosts: &'static [&'static str],
    /// Which pictures a stream gets that asks for neither a mode nor a rate.
    pub mode: Mode,
    /// How long the head of a request may take to arrive.
    pub head_timeout: Duration,
    /// How long the body of a request may take to arrive, from when the application asks for it.
    pub body_timeout: Duration,
    /// How long a connection may take nothing of what it is sent, and send nothing of the body of its
    /// request.
    pub progress_timeout: Duration,
    /// How long a connection may take for one picture.
    pub frame_timeout: Duration,
    /// How long `/capture` waits for its picture.
    pub capture_timeout: Duration,
    /// How long `/control` waits for the source, which obeys between two captures.
    pub control_timeout: Duration,
    /// Pages of these origins may open WebSockets, each written as browsers do: `https://a.example`.
    /// Besides them those may that come from the server's own host, at any port, and whoever is no
    /// page. With [`Cors::AnyOrigin`] all may.
    pub origins: &'static [&'static str],
    /// After this long without a new picture `/stream` gets the last one again, so that browsers
    /// draw it and dead viewers are found.
    pub repeat_after: Duration,
    /// How often a viewer over WebSocket is asked for a sign of life, by a Ping.
    pub ping_interval: Duration,
    /// How long a viewer over WebSocket may leave Pings unanswered.
    pub pong_timeout: Duration,
    /// How long a camera that pushes may say nothing at all, not even to a Ping.
    #[cfg(feature = "ingest")]
    pub push_timeout: Duration,
    /// After this long without a picture that somebody wants, `/healthz` says 503.
    pub health_deadline: Duration,
    /// What `Retry-After` says when the server is full.
    pub retry_after: Duration,
}

/// No login, any name, live frames. 10 s for a head, 60 s for a body, 10 s without progress, 30 s for a
/// frame, 10 s for a capture or a setting. A frame is repeated after 950 ms. A Ping each 5 s, and 30 s
/// for its answer; 10 s without any sign of a camera that pushes. `/healthz` says 503 after 5 s.
/// `Retry-After: 5`.
impl Default for Config {
    fn default() -> Self {
        Self {
            cors: Cors::SameOrigin,
            credentials: Credentials::default(),
            #[cfg(feature = "ingest")]
            ingest_token: None,
            hosts: &[],
            mode: Mode::Live,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            progress_timeout: Duration::from_secs(10),
            frame_timeout: Duration::from_secs(30),
            capture_timeout: Duration::from_secs(10),
            control_timeout: Duration::from_secs(10),
            origins: &[],
            repeat_after: Duration::from_millis(950),
            ping_interval: Duration::from_secs(5),
            pong_timeout: Duration::from_secs(30),
            #[cfg(feature = "ingest")]
            push_timeout: Duration::from_secs(10),
            health_deadline: Duration::from_secs(5),
            retry_after: Duration::from_secs(5),
        }
    }
}
