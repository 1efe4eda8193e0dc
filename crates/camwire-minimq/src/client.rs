use core::cell::Cell;
use core::convert::Infallible;
use core::future::{Future, pending, poll_fn, ready};
use core::net::Ipv4Addr;
use core::pin::{Pin, pin};
use core::time::Duration;

use camwire_capture::{
    Follow, FrameLease, FrameReader, FrameRing, SetError, Settings, SourceState, SourceStatus,
};
use camwire_frame::{Clock, Instant, Setting};
use camwire_mqtt::{
    CameraSession, Captured, ChunkerError, Delivery, Outputs, RefusalReason, SessionConfig,
    SplitError, Stats, Topic, Transmit,
};
use embassy_futures::select::{Either, Either4, select, select4};
use embedded_io_async::{Read, Write};
use minimq::{
    Buffers, ConfigBuilder, Connection, Error, InboundPublish, PeerError, PubError, Publication,
    ReasonCode, Session, Will,
};

use crate::link::{Watched, in_time};
use crate::subscription::Subscription;

/// Bytes of the largest message that the broker may send; CONNECT reports it.
const RECEIVE_BYTES: usize = 512;

/// How long connecting may take, and then again the handshake of MQTT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the broker may take no byte of a message.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds of silence after which the broker is to find the camera gone.
const KEEP_ALIVE: u16 = 15;

/// How long the source may take to apply a setting.
const SETTING_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to look how the source is.
const LOOK: Duration = Duration::from_secs(1);
/// A source that is to give frames and has given none for so long is reported as offline.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for a place in the ring, or for another source after the last.
const RING_RETRY: Duration = Duration::from_secs(1);

/// What a camera is called on its broker, and how it behaves there.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ClientConfig<'a> {
    /// What it publishes, and where. Its prefix has at most 121 bytes. Packets are not larger than
    /// the memory for them, whatever this says.
    pub session: SessionConfig<'a>,
    /// The client identifier, 1 to 64 bytes: each camera on a broker has one of its own. By
    /// default the prefix, which has at most 64 bytes then.
    pub client_id: &'a str,
    /// User and password. `None` by default.
    pub login: Option<(&'a str, &'a str)>,
}

impl<'a> ClientConfig<'a> {
    /// With the prefix as the client identifier, and without a login.
    #[must_use]
    pub const fn new(session: SessionConfig<'a>) -> Self {
        Self { client_id: session.prefix.as_str(), session, login: None }
    }
}

/// Why a camera cannot be on a broker. Nothing but another configuration helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no room for the topic of its status.
    #[error("the prefix is longer than 121 bytes")]
    PrefixTooLong,
    /// The client identifier is empty or too long.
    #[error("the client identifier is longer than 64 bytes")]
    ClientIdTooLong,
    /// The memory for packets is too small for a layout.
    #[error(transparent)]
    Packet(#[from] ChunkerError),
}

/// Why a connection to the broker ended, or did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// Nothing accepts connections at that address, or there is no network.
    #[error("no connection")]
    Unreachable,
    /// User or password is wrong, or may not connect.
    #[error("user or password is refused")]
    NotAllowed,
    /// The broker rejects this client.
    #[error("the broker refused")]
    Refused,
    /// The broker has closed the connection, or the network broke it.
    #[error("the connection was closed")]
    Closed,
    /// The broker takes no bytes any more, or does not reply.
    #[error("the broker does not answer")]
    Stalled,
    /// What it sent is not MQTT 5.
    #[error("the broker does not speak MQTT 5")]
    Protocol,
}

/// What a firmware may log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The broker has accepted the camera.
    Connected,
    /// There is no connection, or no longer; another attempt follows.
    Disconnected(ConnectionError),
    /// A frame is not published, as it is larger than a layout or the broker allows.
    FrameTooLarge {
        /// Its bytes.
        bytes: usize,
    },
}

/// What a firmware adds to its camera: motors, figures, and its log. `()` has none of them.
pub trait Hooks {
    /// The motors are to turn like this from now on, and to stand still from
    /// [`Outputs::until`] on, when this is called again. Must not block. Only with
    /// [`SessionConfig::has_motors`].
    fn drive(&mut self, outputs: Outputs) {
        let _ = outputs;
    }

    /// Adds what only the firmware knows, such as viewers and the strength of the signal, to the
    /// figures that are about to be published.
    fn fill_stats(&self, stats: &mut Stats) {
        let _ = stats;
    }

    /// Takes note of what happened.
    fn log(&mut self, event: ClientEvent) {
        let _ = event;
    }
}

impl Hooks for () {}

/// The way to a broker. `camwire_embassy::Broker` is one.
#[allow(async_fn_in_trait)] // Firmware has one executor for each core.
pub trait Network {
    /// A connection. Its `flush` should not wait for the peer's confirmation.
    type Transport<'t>: Read + Write
    where
        Self: 't;

    /// Connects. Returns this side's address, too, if that is known; `None` if there is no
    /// connection. It may take as long as it likes: it is dropped when it takes too long.
    async fn connect(&mut self) -> Option<(Self::Transport<'_>, Option<Ipv4Addr>)>;
}

/// A camera on an MQTT broker: publishes the frames of a ring, and applies commands.
///
/// - Demand is what is published: with no stream and no shot requested, it does not read the ring.
/// - When the network is slow, the next frame that is sent is the newest.
/// - Settings go to the same mailbox as those of the page, so all see one state.
/// - A connection that is lost is made again, within 5 s of the broker's return; whether frames are
///   published stays as it was.
///
/// It needs a place among the ring's readers, and to hurt no viewer a slot. The broker must know
/// MQTT 5 (mosquitto since 1.6).
#[derive(Debug)]
pub struct CameraClient<'a, C> {
    session: CameraSession<'a>,
    host: Host<'a, C>,
}

/// What the session is connected with.
#[derive(Debug)]
struct Host<'a, C> {
    ring: &'a FrameRing<'a>,
    settings: &'a Settings,
    status: Option<&'a SourceStatus>,
    clock: C,
    config: ClientConfig<'a>,
}

impl<'a, C: Clock> CameraClient<'a, C> {
    /// A camera that shows what is in `ring`, whose source applies `settings`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Packet`] if the packets of the configuration are too small for a layout.
    #[inline] // It is large: the caller makes it where it stays.
    pub fn new(
        ring: &'a FrameRing<'a>,
        settings: &'a Settings,
        clock: C,
        config: ClientConfig<'a>,
    ) -> Result<Self, ConfigError> {
        let session = CameraSession::new(config.session)?;
        Ok(Self { session, host: Host { ring, settings, status: None, clock, config } })
    }

    /// Reports on `PREFIX/source` whether the source gives frames, and with discovery how many a
    /// second. Without a status the source counts as there.
    pub fn set_status(&mut self, status: &'a SourceStatus) {
        self.host.status = Some(status);
    }

    /// Connects to the broker, and again whenever the connection is lost, for ever.
    ///
    /// `packet` holds one packet on its way, so its size is that of the largest: the more, the
    /// fewer parts a frame has.
    ///
    /// # Errors
    ///
    /// If the configuration cannot work. Whatever happens later is given to `hooks`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection, and the broker publishes the last will.
    pub async fn run<N: Network, H: Hooks>(
        &mut self,
        network: &mut N,
        hooks: &mut H,
        packet: &mut [u8],
    ) -> Result<Infallible, ConfigError> {
        let Self { session, host } = self;
        session.limit_packets(u32::try_from(packet.len()).unwrap_or(u32::MAX))?;
        let mut received = [0; RECEIVE_BYTES];
        let buffers = Buffers::new(&mut received, packet);
        let mut client = Session::new(host.options(session, buffers)?);
        loop {
            let connecting = pin!(in_time(&host.clock, CONNECT_TIMEOUT, network.connect()));
            let connected = host.driving(session, hooks, connecting).await;
            let error = match connected {
                Either::First(Some((transport, own))) => {
                    host.connected(&mut client, session, transport, own, hooks).await
                }
                _ => ConnectionError::Unreachable,
            };
            hooks.log(ClientEvent::Disconnected(error));
            let again = session.disconnected(host.clock.now());
            let pause = pin!(host.clock.sleep_until(again));
            host.driving(session, hooks, pause).await;
        }
    }
}

impl<'a, C: Clock> Host<'a, C> {
    fn options<'b>(
        &self,
        camera: &CameraSession<'_>,
        buffers: Buffers<'b>,
    ) -> Result<ConfigBuilder<'b>, ConfigError>
    where
        'a: 'b,
    {
        let (topic, offline) = camera.offline();
        let will = Will::new(topic.encode(&mut [0; Topic::MAX_LEN]), offline, &[]);
        let will = will.map_err(|_| ConfigError::PrefixTooLong)?.retained();
        let options = ConfigBuilder::new(buffers).keepalive_interval(KEEP_ALIVE);
        let options = match self.config.login {
            Some((user, password)) => options.auth(user, password.as_bytes()),
            None => Ok(options),
        };
        let named =
            options.and_then(|options| options.will(will)?.client_id(self.config.client_id));
        named.map_err(|_: minimq::ConfigError| ConfigError::ClientIdTooLong)
    }

    /// Waits for the future, and stops the motors in time meanwhile.
    async fn driving<F: Future>(
        &self,
        camera: &mut CameraSession<'_>,
        hooks: &mut impl Hooks,
        mut future: Pin<&mut F>,
    ) -> F::Output {
        loop {
            let until = drive(camera, hooks, self.clock.now());
            let until = sleep_until(&self.clock, until);
            if let Either::First(output) = select(future.as_mut(), until).await {
                return output;
            }
        }
    }

    /// What is done with a connection, until it is lost.
    async fn connected<T: Read + Write, H: Hooks>(
        &self,
        client: &mut Session<'_>,
        camera: &mut CameraSession<'a>,
        transport: T,
        own: Option<Ipv4Addr>,
        hooks: &mut H,
    ) -> ConnectionError {
        let moved = Cell::new(self.clock.now());
        let transport = Watched { transport, clock: &self.clock, moved: &moved };
        let connecting = pin!(in_time(&self.clock, CONNECT_TIMEOUT, client.connect(transport)));
        let connected = self.driving(camera, hooks, connecting).await;
        match connected {
            Either::Second(()) => ConnectionError::Stalled,
            Either::First(Err(error)) => error.into(),
            Either::First(Ok(connection)) => {
                hooks.log(ClientEvent::Connected);
                camera.connected(self.clock.now(), own);
                let shared = Shared { host: self, camera, hooks, moved: &moved, seen: 0 };
                let Err(error) = Conversation { connection, shared }.run().await;
                // Whether the source applies it after all, the state shows.
                let unknown = RefusalReason::Other("the connection was lost meanwhile");
                camera.setting_applied(Err(unknown));
                error
            }
        }
    }

    /// Has the source apply a setting, by the same mailbox as the page.
    async fn apply(&self, setting: Setting) -> Result<(), RefusalReason> {
        let set = self.settings.set(setting);
        match in_time(&self.clock, SETTING_TIMEOUT, set).await {
            Either::First(result) => result.map_err(reason),
            Either::Second(()) => Err(RefusalReason::Other("the source is busy")),
        }
    }

    /// Waits until other settings are in force than at that version.
    async fn settings_changed(&self, seen: u32) {
        if self.settings.changed(seen).await.is_err() {
            // Too many wait already: the next look finds it.
            pending().await
        }
    }

    fn is_source_available(&self) -> bool {
        self.status.is_none_or(|status| {
            status.state() != SourceState::Ended && status.quiet(self.clock.now()) < SOURCE_TIMEOUT
        })
    }
}

fn reason(error: SetError) -> RefusalReason {
    match error {
        SetError::TooLarge { needed } => RefusalReason::NoMemory { needed },
        SetError::Unsupported => RefusalReason::Other("the source cannot be set to that"),
        SetError::Failed => RefusalReason::Other("the source failed"),
        SetError::Closed => RefusalReason::Other("there is no source"),
        _ => RefusalReason::Other("the source is busy"),
    }
}

/// Has the motors do what the session says, and returns until when.
fn drive(camera: &mut CameraSession<'_>, hooks: &mut impl Hooks, now: Instant) -> Option<Instant> {
    if let Some(outputs) = camera.poll_motors(now) {
        hooks.drive(outputs);
    }
    // It may be the time of something else: then this is called once more than needed.
    camera.poll_timeout().filter(|at| *at > now)
}

async fn sleep_until(clock: &impl Clock, at: Option<Instant>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => pending().await,
    }
}

/// A connection, and what is said over it.
struct Conversation<'c, 'a, 'b, T, C, H> {
    connection: Connection<'c, 'b, T>,
    shared: Shared<'c, 'a, C, H>,
}

struct Shared<'c, 'a, C, H> {
    host: &'c Host<'a, C>,
    camera: &'c mut CameraSession<'a>,
    hooks: &'c mut H,
    /// When bytes were last taken or came.
    moved: &'c Cell<Instant>,
    /// The version of the settings that the session knows.
    seen: u32,
}

impl<T: Read + Write, C: Clock, H: Hooks> Conversation<'_, '_, '_, T, C, H> {
    async fn run(mut self) -> Result<Infallible, ConnectionError> {
        let host = self.shared.host;
        let mut subscription = Subscription::new(self.shared.camera.filters());
        let mut applying = pin!(None);
        let mut reader = None;
        loop {
            // Until the broker has confirmed it, a subscription takes of a packet's memory.
            if !subscription.is_pending(&self.connection) {
                self.flush().await?;
                if !subscription.is_complete() {
                    let sending = pin!(subscription.send(&mut self.connection));
                    self.shared.unless_stalled(sending).await??;
                }
            }
            let is_subscribed =
                subscription.is_complete() && !subscription.is_pending(&self.connection);
            if let Some(setting) = self.shared.camera.poll_setting() {
                applying.set(Some(host.apply(setting)));
            }
            let due = self.shared.camera.frame_due();
            if due.is_none() {
                reader = None;
            } else if reader.is_none() && is_subscribed {
                reader = host.ring.subscribe(Follow::Live).ok();
            }
            let now = host.clock.now();
            let timeout = drive(self.shared.camera, self.shared.hooks, now);
            let timeout = timeout.map_or(now + LOOK, |at| at.min(now + LOOK));
            let frame = next_frame(&host.clock, &mut reader, due);
            let applied = poll_fn(|cx| poll_option(applying.as_mut(), cx));
            let changed = host.settings_changed(self.shared.seen);
            let timeout = select(changed, host.clock.sleep_until(timeout));
            let has_ended = match select4(self.connection.poll(), applied, frame, timeout).await {
                Either4::First(input) => {
                    self.shared.handle_input(input?);
                    false
                }
                Either4::Second(result) => {
                    applying.set(None);
                    self.shared.camera.setting_applied(result);
                    false
                }
                Either4::Third(Some(frame)) => {
                    self.publish(&frame).await?;
                    false
                }
                Either4::Third(None) => true,
                Either4::Fourth(_) => false,
            };
            if has_ended {
                // Another source follows, or a place in the ring, perhaps later.
                reader = None;
            }
        }
    }

    /// Sends all that the session has to say.
    async fn flush(&mut self) -> Result<(), ConnectionError> {
        self.shared.update();
        let mut buf = [0; CameraSession::BUFFER_LEN];
        while let Some(message) =
            self.shared.camera.poll_transmit(self.shared.host.clock.now(), &mut buf)
        {
            match self.shared.send(&mut self.connection, message).await {
                // A message that is larger than the broker takes is left out.
                Ok(()) | Err(SendError::TooLarge) => {}
                Err(SendError::Lost(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Publishes a frame, and goes on with the rest between its parts.
    async fn publish(&mut self, frame: &FrameLease<'_, '_>) -> Result<(), ConnectionError> {
        let host = self.shared.host;
        let captured = Captured {
            at: frame.info().captured_at,
            missed: frame.missed(),
            unix_offset: host.clock.unix_offset(),
        };
        let messages = self.shared.camera.publish(frame, captured, host.clock.now());
        let too_large = ClientEvent::FrameTooLarge { bytes: frame.len() };
        if messages.rejected().is_some_and(|error| error != SplitError::Empty) {
            self.shared.hooks.log(too_large);
        }
        for message in messages {
            // The camera has no other slot, and the rest of this one would come late anyway.
            if frame.is_revoked() {
                return Ok(());
            }
            let mut topic = [0; Topic::MAX_LEN];
            match self.shared.send(&mut self.connection, message.transmit(&mut topic)).await {
                Ok(()) => {}
                Err(SendError::Lost(error)) => return Err(error),
                Err(SendError::TooLarge) => {
                    // The broker takes less than there is memory for.
                    let less = self.shared.camera.config().largest_packet / 2;
                    if self.shared.camera.limit_packets(less).is_err() {
                        self.shared.hooks.log(too_large);
                    }
                    return Ok(());
                }
            }
            let mut has_input = false;
            while let Either::First(input) = select(self.connection.poll(), ready(())).await {
                self.shared.handle_input(input?);
                has_input = true;
            }
            if has_input {
                self.flush().await?;
            }
        }
        Ok(())
    }
}

impl<C: Clock, H: Hooks> Shared<'_, '_, C, H> {
    fn handle_input(&mut self, input: Option<InboundPublish<'_>>) {
        let Some(message) = input else { return };
        let delivery = Delivery::from_retain_flag(message.retained());
        let now = self.host.clock.now();
        let (topic, payload) = (message.topic(), message.payload());
        let _ = self.camera.handle_input(topic, payload, delivery, now); // It reports refusals.
        drive(self.camera, self.hooks, now);
    }

    /// What is new of the source.
    fn update(&mut self) {
        let Host { settings, status, clock, .. } = self.host;
        self.seen = settings.version();
        self.camera.update_settings(|name| settings.get(name));
        self.camera.update_source(self.host.is_source_available());
        let mut stats = Stats::default();
        stats.millihertz = status.map_or(0, |status| status.millihertz(clock.now()));
        self.hooks.fill_stats(&mut stats);
        self.camera.update_stats(stats);
    }

    /// Waits for what sends something, and stops the motors in time meanwhile. It may take long, as
    /// long as bytes move.
    async fn unless_stalled<F: Future>(
        &mut self,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, ConnectionError> {
        let Self { host: Host { clock, .. }, camera, hooks, moved, .. } = self;
        moved.set(clock.now());
        loop {
            let now = clock.now();
            let until = moved.get() + STALL_TIMEOUT;
            if now >= until {
                return Err(ConnectionError::Stalled);
            }
            let until = drive(camera, *hooks, now).map_or(until, |at| at.min(until));
            let output = select(future.as_mut(), clock.sleep_until(until)).await;
            if let Either::First(output) = output {
                return Ok(output);
            }
        }
    }

    async fn send<T: Read + Write>(
        &mut self,
        connection: &mut Connection<'_, '_, T>,
        message: Transmit<'_>,
    ) -> Result<(), SendError> {
        let payload = |memory: &mut [u8]| {
            let (head, rest) = memory.split_at_mut_checked(message.head.len()).ok_or(Full)?;
            head.copy_from_slice(message.head);
            rest.get_mut(..message.body.len()).ok_or(Full)?.copy_from_slice(message.body);
            Ok(message.head.len() + message.body.len())
        };
        let publication = Publication::new(message.topic, payload);
        let publication = if message.retain.flag() { publication.retain() } else { publication };
        let sending = pin!(connection.publish(publication));
        match self.unless_stalled(sending).await.map_err(SendError::Lost)? {
            Ok(_) => Ok(()),
            Err(PubError::Payload(Full)) => Err(SendError::TooLarge),
            Err(PubError::Session(error)) if is_local(&error) => Err(SendError::TooLarge),
            Err(PubError::Session(error)) => Err(SendError::Lost(error.into())),
        }
    }
}

/// The next frame, when it is time for it; `None` if there is none to be had.
async fn next_frame<'l, 'r>(
    clock: &impl Clock,
    reader: &'l mut Option<FrameReader<'r>>,
    due: Option<Instant>,
) -> Option<FrameLease<'l, 'r>> {
    sleep_until(clock, due).await;
    match reader {
        Some(reader) => reader.latest().await,
        None => {
            clock.sleep_until(clock.now() + RING_RETRY).await;
            None
        }
    }
}

/// What the future gives, if there is one.
fn poll_option<F: Future>(
    future: Pin<&mut Option<F>>,
    cx: &mut core::task::Context<'_>,
) -> core::task::Poll<F::Output> {
    match future.as_pin_mut() {
        Some(future) => future.poll(cx),
        None => core::task::Poll::Pending,
    }
}

/// There is no room for a payload.
#[derive(Debug)]
struct Full;

/// Why a message was not sent.
enum SendError {
    TooLarge,
    Lost(ConnectionError),
}

impl<E> From<Error<E>> for ConnectionError {
    fn from(error: Error<E>) -> Self {
        match error {
            Error::Peer(PeerError::Rejected(
                ReasonCode::BadUsernameOrPassword | ReasonCode::NotAuthorized,
            )) => Self::NotAllowed,
            // What older brokers reply to MQTT 5 reads as this, too.
            Error::Peer(PeerError::Rejected(ReasonCode::UnsupportedProtocol)) => Self::Protocol,
            Error::Peer(PeerError::Rejected(_)) => Self::Refused,
            Error::Peer(_) => Self::Protocol,
            _ => Self::Closed,
        }
    }
}

/// The connection is fine: the message was at fault.
pub(crate) fn is_local<E>(error: &Error<E>) -> bool {
    matches!(error, Error::Resource(_) | Error::InvalidRequest)
}
