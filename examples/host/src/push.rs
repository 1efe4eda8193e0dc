//! `--push`: the pictures go out to a relay, and `--source ingest`: they come in at one.

use std::io;
use std::time::Duration;

use camwire::frame::{Clock, FrameRate};
use camwire::server::{Hub, Push, PushError};
use camwire::websocket::Uri;
use clap::Args;

use crate::cli::{token, websocket_url};
use crate::clock::HostClock;
use crate::dial::dial;
use crate::login::{Login, Secret, ServerLogin};
use crate::throttle::LogThrottle;

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Push the pictures to a relay, ws://HOST[:PORT]/ingest, or wss:// with TLS, besides serving
    /// them: for a camera that nobody can reach. It rests while nobody watches there. A server that
    /// is no camwire may ask for a login: ws://USER:PASSWORD@HOST/PATH
    #[arg(long, value_name = "URL", value_parser = relay_url)]
    push: Option<Relay>,

    /// The token that the relay asks for; without it, and without a login in its URL, that of
    /// --token is sent
    #[arg(long, value_parser = token, value_name = "TOKEN", requires = "push")]
    push_token: Option<Secret>,

    /// Most pictures a second that are pushed
    #[arg(long, value_name = "RATE", requires = "push")]
    push_fps: Option<FrameRate>,

    /// With --source ingest, the token that a camera needs to push to /ingest, and nobody else.
    /// Without it that of --token is asked for, of cameras and of viewers
    #[arg(long, value_parser = token, value_name = "TOKEN")]
    ingest_token: Option<Secret>,
}

/// Where to push, by a URL that has been checked.
#[derive(Clone, Debug)]
struct Relay {
    url: String,
    login: Option<Login>,
}

/// A relay's front door is for viewers, so without a path it would say nothing for ever.
fn relay_url(text: &str) -> Result<Relay, String> {
    let (url, login) = websocket_url(text)?;
    match Uri::parse(&url).map(|uri| uri.target) {
        Ok("" | "/") => {
            Err("a relay takes pictures at a path, such as ws://HOST/ingest".to_owned())
        }
        _ => Ok(Relay { url, login }),
    }
}

impl PushArgs {
    /// What cameras must bring along that push to here.
    pub(crate) fn ingest_token<'a>(&'a self, token: Option<&'a Secret>) -> Option<&'a Secret> {
        self.ingest_token.as_ref().or(token)
    }

    /// Whether to push.
    pub(crate) fn is_wanted(&self) -> bool {
        self.push.is_some()
    }

    /// Whether there are two logins for the relay.
    pub(crate) fn has_two_logins(&self) -> bool {
        let in_url = self.push.as_ref().is_some_and(|relay| relay.login.is_some());
        in_url && self.push_token.is_some()
    }

    /// A push for the rest of the program's life, if there is to be one.
    pub(crate) fn pusher(&self, token: Option<&Secret>) -> Option<Pusher> {
        let Relay { url, login } = self.push.as_ref()?.clone();
        let uri = Uri::parse(url.leak()).ok()?; // The command line has been checked.
        let token = self.push_token.as_ref().or(token).cloned().map(ServerLogin::Token);
        let login = login.map(ServerLogin::Basic).or(token);
        let login: Option<&'static ServerLogin> = login.map(|login| &*Box::leak(Box::new(login)));
        let mut to = Push::to(uri);
        to.authorization = login.map(ServerLogin::authorization);
        to.options.rate = self.push_fps;
        Some(Pusher { to, login, throttle: LogThrottle::new(SILENCE) })
    }
}

/// How long an error that repeats itself is not logged again.
const SILENCE: Duration = Duration::from_secs(60);

/// Bytes that are masked and written at once.
const PIECE: usize = 16 * 1024;

pub(crate) struct Pusher {
    to: Push<'static>,
    login: Option<&'static ServerLogin>,
    throttle: LogThrottle,
}

impl Pusher {
    /// Pushes until the source has ended, and connects again and again.
    pub(crate) async fn run(mut self, hub: &Hub<'static, HostClock>, clock: HostClock) {
        let mut memory = Box::new([0; PIECE]);
        let mut backoff = Push::BACKOFF;
        log::info!("pushing to {}", self.to.uri.authority);
        loop {
            let wait = match dial(&self.to.uri).await {
                Err(error) => {
                    self.report(&format!("cannot connect: {error}"));
                    backoff.next(hub.random().word())
                }
                Ok((read, write, peer)) => {
                    self.to.peer = Some(peer);
                    match self.to.run(hub, read, write, &mut memory).await {
                        Ok(()) => return,
                        Err(error) => {
                            self.report(&in_words(&error, self.login));
                            error.back_off(&mut backoff, hub.random().word())
                        }
                    }
                }
            };
            clock.sleep_until(clock.now() + wait).await;
        }
    }

    fn report(&mut self, text: &str) {
        if self.throttle.lets_through(text) {
            log::warn!("push to {}: {text}", self.to.uri.authority);
        }
    }
}

fn in_words(error: &PushError<io::Error>, login: Option<&ServerLogin>) -> String {
    match error {
        PushError::Refused { status: 401 } => match login {
            Some(ServerLogin::Basic(_)) => "the user or the password is wrong (401)".into(),
            Some(ServerLogin::Token(_)) => "the token is wrong (401)".into(),
            None => "it asks for a login or a token (401)".into(),
        },
        PushError::Refused { status: 404 } => "it takes no pictures there (404)".into(),
        PushError::Refused { status: 409 } => "another camera pushes there (409)".into(),
        error => error.to_string(),
    }
}
