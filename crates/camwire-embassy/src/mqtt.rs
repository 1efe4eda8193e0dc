use core::convert::Infallible;
use core::fmt::{Display, Write as _};
use core::future::{Future, Ready, pending, ready};
use core::iter::Peekable;
use core::net::Ipv4Addr;
use core::time::Duration;

use camwire_capture::{Follow, FrameLease, FrameReader, FrameRing, SetError, Settings};
use camwire_frame::{Clock, FrameRate, Instant, Pacer, Setting, SettingName};
use camwire_mqtt::{
    Chunker, ChunkerError, Command, CommandError, ControlTopics, Delivery, Dialect, Greeting, Led,
    Message, Prefix, Retain, SplitError, Stamp, Topic,
};
use embassy_futures::select::{Either, Select, select};
use embedded_io_async::{Read, Write};
use heapless::{String, Vec};
use minimq::{
    Buffers, ConfigBuilder, ConfigError, Connection, Error, Op, PeerError, PubError, Publication,
    ReasonCode, ResourceError, Session, ToPayload, TopicFilter, Will,
};

use crate::clock::in_time;

/// Bytes of the largest message that is taken from the broker, which is told so.
const RECEIVE_BYTES: usize = 512;

/// Filters in one SUBSCRIBE packet, at most: some brokers take no more.
const FILTERS_AT_ONCE: usize = 8;
/// Bytes of their topics: all eight of a usual length, or three of the longest.
const FILTER_BYTES: usize = 512;

/// How long to wait before connecting again: twice as long each time, up to the second. So a broker
/// that is there again has the camera soon, and never more than one or two tries in a second.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_millis(1500);
/// A connection that held for so long was good: the next wait is the first one again.
const STABLE: Duration = Duration::from_secs(10);
/// How long connecting may take, and then again the greetings of MQTT.
const CONNECTING: Duration = Duration::from_secs(3);
/// How long the broker may take nothing of a message.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds after which the broker is to miss a camera that has said nothing.
const KEEP_ALIVE: u16 = 15;

/// How long a setting may take, and how long another that is being changed is waited for.
const SETTING: Duration = Duration::from_secs(10);
/// How long to wait for a place in the ring, or for another picture after the last.
const NO_PICTURE: Duration = Duration::from_secs(1);

/// How pictures become messages: see [`Chunker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// camwire's own.
    Framed {
        /// A number that is another after each start, best a random one.
        stream: u32,
    },
    /// The existing ESP32 camera's. Packets of 8192 bytes and more are needed.
    Indexed(Retain),
    /// One message for each picture, as Home Assistant wants it.
    Whole(Retain),
}

/// Whether pictures are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publishing {
    /// They are, from the start.
    On,
    /// Not before somebody asks, by `camera/stream/start` or `camera/shot`.
    Off,
}

/// What a camera is called on its broker, and how it behaves there.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MqttConfig<'a> {
    /// What the topics of pictures and status begin with; at most 121 bytes.
    pub prefix: Prefix<'a>,
    /// What the topics of commands begin with.
    pub control: Prefix<'a>,
    /// How commands are read. With the existing camera's, there is also its greeting.
    pub dialect: Dialect,
    /// How pictures become messages.
    pub layout: Layout,
    /// The client identifier, 1 to 64 bytes: each camera on a broker has one of its own.
    pub client: &'a str,
    /// User and password.
    pub login: Option<(&'a str, &'a str)>,
    /// What it does before it is told otherwise.
    pub at_start: Publishing,
    /// The most pictures a second; `None` for all that are captured. `set/fps` changes it.
    pub rate: Option<FrameRate>,
}

impl<'a> MqttConfig<'a> {
    /// camwire's own layout and dialect, all under one prefix; publishing at once. The prefix is
    /// the client identifier as well, so it has at most 64 bytes, or `client` is set.
    #[must_use]
    pub const fn new(prefix: Prefix<'a>, stream: u32) -> Self {
        Self {
            prefix,
            control: prefix,
            dialect: Dialect::Camwire,
            layout: Layout::Framed { stream },
            client: prefix.as_str(),
            login: None,
            at_start: Publishing::On,
            rate: None,
        }
    }

    /// As the existing ESP32 camera (esp32_mqtt_livestream) does it: parts that are retained, not
    /// before they are asked for, and five pictures a second.
    #[must_use]
    pub const fn like_esp32cam(prefix: Prefix<'a>, control: Prefix<'a>) -> Self {
        Self {
            control,
            dialect: Dialect::Esp32Cam,
            layout: Layout::Indexed(Retain::Yes),
            at_start: Publishing::Off,
            rate: FrameRate::per_second(5),
            ..Self::new(prefix, 0)
        }
    }
}

/// Why there is no such camera on a broker. Nothing but another configuration helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MqttConfigError {
    /// Status and commands have room for prefixes of so many bytes.
    #[error("the prefix is longer than 121 bytes")]
    PrefixTooLong,
    /// It is too long.
    #[error("the client identifier is longer than 64 bytes")]
    ClientTooLong,
    /// The memory for packets is too small for the layout.
    #[error(transparent)]
    Packet(#[from] ChunkerError),
}

/// Why a connection to the broker ended, or did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MqttEnd {
    /// There is nobody at that address, or no network.
    #[error("no connection")]
    Unreachable,
    /// User or password is wrong, or the broker does not let them.
    #[error("user or password is refused")]
    NotAllowed,
    /// It does not want this client.
    #[error("the broker refused")]
    Refused,
    /// It has closed the connection, or the network broke it.
    #[error("the connection was closed")]
    Closed,
    /// It takes nothing any more, or answers nothing.
    #[error("the broker does not answer")]
    Stalled,
    /// What it sent is not MQTT 5.
    #[error("the broker does not speak MQTT 5")]
    Protocol,
}

/// What there is to tell of the connection, for whoever looks at the firmware's console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MqttEvent {
    /// The broker has taken the camera.
    Connected,
    /// It is gone; another attempt follows.
    Lost(MqttEnd),
    /// A picture was not published, as it is larger than the layout or the broker allows.
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
}

/// What a firmware adds to its camera: what it drives by command, and its console. `()` has neither.
pub trait MqttHooks {
    /// Obeys a command that is not about pictures: motors and their heartbeat. Must not block.
    ///
    /// No command is read while the one before waits for the camera to take a setting (10 s at
    /// most) or a message for the broker (5 s at most): motors with a deadman stop meanwhile, and
    /// what was said is obeyed late.
    ///
    /// # Errors
    ///
    /// Why it does not, for people.
    fn obey(&mut self, command: Command) -> Result<(), &'static str> {
        Err(match command {
            Command::Motor(..) | Command::Heartbeat => "this camera has no motors",
            _ => "this camera has nothing like that",
        })
    }

    /// Takes note of what happened.
    fn told(&mut self, event: MqttEvent) {
        let _ = event;
    }
}

impl MqttHooks for () {}

/// The way to a broker. With feature `net`, [`Broker`](crate::Broker) is one.
#[allow(async_fn_in_trait)] // Firmware has one executor for each core.
pub trait MqttNetwork {
    /// A connection. Its `flush` should not wait for the peer's confirmation.
    type Transport<'t>: Read + Write
    where
        Self: 't;

    /// Connects, and says what this side's address is, if that is known. `None` if there is no
    /// connection. It may take as long as it likes: it is dropped when it takes too long.
    async fn connect(&mut self) -> Option<(Self::Transport<'_>, Option<Ipv4Addr>)>;
}

/// A camera on an MQTT broker: publishes the pictures of a ring, and obeys.
///
/// - Demand is what is published: with no stream and no shot asked for, it does not read the ring.
/// - When the network is slow, the next picture that is sent is the newest.
/// - Settings go to the same mailbox as those of the page, so all see one state.
/// - `PREFIX/status` is `online`, retained, and by the last will `offline`. What is not obeyed is
///   told on `PREFIX/refused`: the topic, a colon and the reason.
/// - A connection that is lost comes again by itself, within 5 s of the broker's return; whether
///   pictures are published stays as it was.
///
/// It needs a place among the ring's readers, and to hurt no viewer a slot. The broker must know
/// MQTT 5 (mosquitto since 1.6).
#[derive(Debug)]
pub struct MqttCamera<'a, C> {
    ring: &'a FrameRing<'a>,
    settings: &'a Settings,
    clock: C,
    config: MqttConfig<'a>,
    is_publishing: bool,
    /// One picture is wanted, whatever the rate.
    shot: Option<Instant>,
    pacer: Option<Pacer>,
    /// Number of the next picture.
    sequence: u64,
    /// Bytes of the largest packet: what there is memory for, unless the broker takes less.
    packet_bytes: u32,
}

impl<'a, C: Clock> MqttCamera<'a, C> {
    /// A camera that shows what is in `ring`, whose source obeys `settings`.
    pub fn new(
        ring: &'a FrameRing<'a>,
        settings: &'a Settings,
        clock: C,
        config: MqttConfig<'a>,
    ) -> Self {
        Self {
            ring,
            settings,
            clock,
            config,
            is_publishing: config.at_start == Publishing::On,
            shot: None,
            pacer: config.rate.map(Pacer::new),
            sequence: 1,
            packet_bytes: 0,
        }
    }

    /// Connects to the broker, and again whenever the connection is lost, for ever.
    ///
    /// `packet` holds one packet on its way, so its size is that of the largest: the more, the
    /// fewer parts a picture has.
    ///
    /// # Errors
    ///
    /// If the configuration cannot work. Whatever happens later is told to `hooks`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection, and the broker publishes the last will.
    pub async fn run<N: MqttNetwork, H: MqttHooks>(
        mut self,
        network: &mut N,
        hooks: &mut H,
        packet: &mut [u8],
    ) -> Result<Infallible, MqttConfigError> {
        self.packet_bytes = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        self.chunker(self.packet_bytes)?;
        let mut received = [0; RECEIVE_BYTES];
        let mut session = Session::new(self.options(Buffers::new(&mut received, packet))?);
        let mut wait = FIRST_WAIT;
        loop {
            let since = self.clock.now();
            let end = match in_time(&self.clock, CONNECTING, network.connect()).await {
                Either::First(Some((transport, own))) => {
                    self.connected(&mut session, transport, own, hooks).await
                }
                _ => MqttEnd::Unreachable,
            };
            hooks.told(MqttEvent::Lost(end));
            let now = self.clock.now();
            if now.saturating_since(since) >= STABLE {
                wait = FIRST_WAIT;
            }
            self.clock.sleep_until(now + wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn options<'b>(&self, buffers: Buffers<'b>) -> Result<ConfigBuilder<'b>, MqttConfigError>
    where
        'a: 'b,
    {
        let mut topic = [0; Topic::MAX_LEN];
        let will = Will::new(self.config.prefix.status().encode(&mut topic), OFFLINE, &[]);
        let will = will.map_err(|_| MqttConfigError::PrefixTooLong)?.retained();
        let options = ConfigBuilder::new(buffers).keepalive_interval(KEEP_ALIVE);
        let options = match self.config.login {
            Some((user, password)) => options.auth(user, password.as_bytes()),
            None => Ok(options),
        };
        let named = options.and_then(|options| options.will(will)?.client_id(self.config.client));
        named.map_err(|_: ConfigError| MqttConfigError::ClientTooLong)
    }

    fn chunker(&self, packet_bytes: u32) -> Result<Chunker<'a>, ChunkerError> {
        let prefix = self.config.prefix;
        match self.config.layout {
            Layout::Framed { stream } => Chunker::framed(prefix, stream, packet_bytes),
            Layout::Indexed(retain) => Chunker::indexed(prefix, retain, packet_bytes),
            Layout::Whole(retain) => Chunker::whole(prefix, retain, packet_bytes),
        }
    }

    fn controls(&self) -> ControlTopics<'a> {
        ControlTopics::new(self.config.control, self.config.dialect)
    }

    /// What is done with a connection, until it is lost.
    async fn connected<T: Read + Write, H: MqttHooks>(
        &mut self,
        session: &mut Session<'_>,
        transport: T,
        own: Option<Ipv4Addr>,
        hooks: &mut H,
    ) -> MqttEnd {
        match in_time(&self.clock, CONNECTING, session.connect(transport)).await {
            Either::Second(()) => MqttEnd::Stalled,
            Either::First(Err(error)) => error.into(),
            Either::First(Ok(mut connection)) => {
                hooks.told(MqttEvent::Connected);
                let Err(end) = self.converse(&mut connection, own, hooks).await;
                end
            }
        }
    }

    async fn converse<T: Read + Write, H: MqttHooks>(
        &mut self,
        connection: &mut Connection<'_, '_, T>,
        own: Option<Ipv4Addr>,
        hooks: &mut H,
    ) -> Result<Infallible, MqttEnd> {
        self.greet(connection, own).await?;
        let mut subscription = Subscription::new(self.controls().filters());
        let mut reader = None;
        loop {
            let is_subscribed = self.subscribe(connection, &mut subscription).await?;
            if !self.is_wanted() {
                reader = None;
            } else if reader.is_none() && is_subscribed {
                // Until the broker has confirmed it, a subscription takes of a packet's memory.
                reader = self.ring.subscribe(Follow::Live).ok();
            }
            let heard = hear(connection, self.controls());
            let has_ended = match select(heard, self.picture(&mut reader)).await {
                Either::First(heard) => {
                    if let Some(heard) = heard? {
                        self.answer(connection, heard, hooks).await?;
                    }
                    false
                }
                Either::Second(Some(picture)) => {
                    // One that is older is no answer to who asks now.
                    if self.shot.is_none_or(|asked| picture.info().captured_at >= asked) {
                        self.shot = None;
                        self.publish(connection, &picture, hooks).await?;
                    }
                    false
                }
                Either::Second(None) => true,
            };
            if has_ended {
                // There is another source, or place in the ring, perhaps later.
                reader = None;
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.is_publishing || self.shot.is_some()
    }

    /// Says that the camera is there.
    async fn greet<T: Read + Write>(
        &self,
        connection: &mut Connection<'_, '_, T>,
        own: Option<Ipv4Addr>,
    ) -> Result<(), MqttEnd> {
        let mut topic = [0; Topic::MAX_LEN];
        let topic = self.config.prefix.status().encode(&mut topic);
        self.send(connection, Publication::bytes(topic, ONLINE).retain()).await?;
        if self.config.dialect == Dialect::Esp32Cam
            && let Some(address) = own
        {
            let greeting = text(Greeting { address, control: self.config.control });
            self.send(connection, Publication::text(Greeting::TOPIC, greeting.as_str())).await?;
        }
        Ok(())
    }

    /// Sends the next filters, once the broker has confirmed those before; whether it has confirmed
    /// all.
    async fn subscribe<'t, T: Read + Write>(
        &self,
        connection: &mut Connection<'_, '_, T>,
        subscription: &mut Subscription<impl Iterator<Item = Topic<'t>> + Clone>,
    ) -> Result<bool, MqttEnd> {
        loop {
            if subscription.sent.is_some_and(|sent| connection.is_pending(&sent)) {
                return Ok(false);
            }
            let mut left = subscription.left.clone();
            let mut topics = String::<FILTER_BYTES>::new();
            let mut ends = Vec::<usize, FILTERS_AT_ONCE>::new();
            while ends.len() < subscription.at_once
                && let Some(topic) = left.peek()
                && topics.push_str(topic.encode(&mut [0; Topic::MAX_LEN])).is_ok()
            {
                let _ = ends.push(topics.len()); // There is room.
                left.next();
            }
            let mut filters = Vec::<TopicFilter<'_>, FILTERS_AT_ONCE>::new();
            let mut start = 0;
            for end in ends {
                let topic = topics.get(start..end).unwrap_or_default();
                let _ = filters.push(TopicFilter::new(topic)); // As many as there are ends.
                start = end;
            }
            if filters.is_empty() {
                return Ok(true);
            }
            match in_time(&self.clock, PATIENCE, connection.subscribe(&filters, &[])).await {
                Either::First(Ok(sent)) => {
                    (subscription.left, subscription.sent) = (left, Some(sent));
                }
                // There is less memory for packets, or the broker takes smaller ones.
                Either::First(Err(error)) if is_local(&error) && filters.len() > 1 => {
                    subscription.at_once = filters.len() / 2;
                }
                Either::First(Err(error)) => return Err(error.into()),
                Either::Second(()) => return Err(MqttEnd::Stalled),
            }
        }
    }

    /// The next picture, when it is time for it.
    async fn picture<'l, 'r>(
        &self,
        reader: &'l mut Option<FrameReader<'r>>,
    ) -> Option<FrameLease<'l, 'r>> {
        let Some(reader) = reader else {
            if self.is_wanted() {
                self.clock.sleep_until(self.clock.now() + NO_PICTURE).await;
                return None;
            }
            return pending().await;
        };
        if self.shot.is_none()
            && let Some(due) = self.pacer.as_ref().and_then(Pacer::due)
        {
            self.clock.sleep_until(due).await;
        }
        reader.latest().await
    }

    /// Publishes a picture, and obeys between its parts.
    async fn publish<T: Read + Write, H: MqttHooks>(
        &mut self,
        connection: &mut Connection<'_, '_, T>,
        picture: &FrameLease<'_, '_>,
        hooks: &mut H,
    ) -> Result<(), MqttEnd> {
        if let Some(pacer) = &mut self.pacer {
            pacer.admit(self.clock.now());
        }
        let since = self.clock.unix_offset().unwrap_or(0);
        let timestamp_us = picture.info().captured_at.as_micros().checked_add(since);
        let stamp = Stamp { sequence: self.sequence, timestamp_us, checksum: None };
        self.sequence = self.sequence.wrapping_add(1);
        let too_large = MqttEvent::TooLarge { bytes: picture.len() };
        let Ok(chunker) = self.chunker(self.packet_bytes) else { return Ok(()) };
        let messages = match chunker.split(picture, stamp) {
            Ok(messages) => messages,
            Err(error) => {
                if error != SplitError::Empty {
                    hooks.told(too_large);
                }
                return Ok(());
            }
        };
        for message in messages {
            // The camera has no other slot, and the rest of this one would come late anyway.
            if picture.is_revoked() {
                return Ok(());
            }
            match self.publish_part(connection, &message).await {
                Ok(()) => {}
                Err(Unsent::Lost(end)) => return Err(end),
                Err(Unsent::TooLarge) => {
                    // The broker takes less than there is memory for.
                    let less = self.packet_bytes / 2;
                    match self.chunker(less) {
                        Ok(_) => self.packet_bytes = less,
                        Err(_) => hooks.told(too_large),
                    }
                    return Ok(());
                }
            }
            while let Either::First(heard) = at_once(hear(connection, self.controls())).await {
                if let Some(heard) = heard? {
                    self.answer(connection, heard, hooks).await?;
                }
            }
        }
        Ok(())
    }

    async fn publish_part<T: Read + Write>(
        &self,
        connection: &mut Connection<'_, '_, T>,
        message: &Message<'_, '_>,
    ) -> Result<(), Unsent> {
        let (topic, mut memory) = (message.topic(), [0; Topic::MAX_LEN]);
        let topic = topic.encode(&mut memory);
        let payload = |memory: &mut [u8]| {
            message.copy_payload(memory).map(<[u8]>::len).ok_or(Unsent::TooLarge)
        };
        let publication = Publication::new(topic, payload);
        let publication = if message.retain().flag() { publication.retain() } else { publication };
        match in_time(&self.clock, PATIENCE, connection.publish(publication)).await {
            Either::First(Ok(_)) => Ok(()),
            Either::First(Err(PubError::Payload(unsent))) => Err(unsent),
            Either::First(Err(PubError::Session(Error::Resource(
                ResourceError::PacketTooLarge,
            )))) => Err(Unsent::TooLarge),
            Either::First(Err(PubError::Session(error))) => Err(Unsent::Lost(error.into())),
            Either::Second(()) => Err(Unsent::Lost(MqttEnd::Stalled)),
        }
    }

    /// Does what was asked for, or says why not.
    async fn answer<T: Read + Write, H: MqttHooks>(
        &mut self,
        connection: &mut Connection<'_, '_, T>,
        heard: Heard,
        hooks: &mut H,
    ) -> Result<(), MqttEnd> {
        let refused = match heard.command {
            Err(why) => text(format_args!("{}: {why}", heard.topic)),
            Ok(command) => {
                let Err(why) = self.obey(command, hooks).await else { return Ok(()) };
                text(format_args!("{}: {why}", heard.topic))
            }
        };
        let mut topic = [0; Topic::MAX_LEN];
        let topic = self.config.prefix.refused().encode(&mut topic);
        self.send(connection, Publication::text(topic, refused.as_str())).await
    }

    async fn obey<H: MqttHooks>(&mut self, command: Command, hooks: &mut H) -> Result<(), Why> {
        match command {
            Command::Set(setting) => self.set(setting).await,
            Command::Led(led) => {
                let lamp = SettingName::Lamp.with_number(level(led));
                self.set(lamp.ok_or(Why::Setting(SetError::Unsupported))?).await
            }
            Command::Rate(rate) => {
                self.pacer = Some(Pacer::new(rate));
                Ok(())
            }
            Command::Shot => {
                self.shot = Some(self.clock.now());
                Ok(())
            }
            Command::StartStream => {
                self.is_publishing = true;
                Ok(())
            }
            Command::StopStream => {
                self.is_publishing = false;
                Ok(())
            }
            other => hooks.obey(other).map_err(Why::Hooks),
        }
    }

    async fn set(&self, setting: Setting) -> Result<(), Why> {
        match in_time(&self.clock, SETTING, self.settings.set(setting)).await {
            Either::First(done) => done.map_err(Why::Setting),
            Either::Second(()) => Err(Why::Setting(SetError::Failed)),
        }
    }

    /// Sends a message that is not a part of a picture.
    async fn send<T: Read + Write, P: ToPayload>(
        &self,
        connection: &mut Connection<'_, '_, T>,
        publication: Publication<'_, P>,
    ) -> Result<(), MqttEnd> {
        match in_time(&self.clock, PATIENCE, connection.publish(publication)).await {
            Either::Second(()) => Err(MqttEnd::Stalled),
            Either::First(Err(PubError::Session(error))) if !is_local(&error) => Err(error.into()),
            // Or it is longer than the broker takes: then it is not said.
            Either::First(_) => Ok(()),
        }
    }
}

/// How much of the topics of commands the broker sends already.
struct Subscription<I: Iterator> {
    /// The filters that are not sent yet.
    left: Peekable<I>,
    /// So many of them in a packet.
    at_once: usize,
    sent: Option<Op>,
}

impl<I: Iterator> Subscription<I> {
    fn new(filters: I) -> Self {
        Self { left: filters.peekable(), at_once: FILTERS_AT_ONCE, sent: None }
    }
}

const ONLINE: &[u8] = b"online";
const OFFLINE: &[u8] = b"offline";

/// What was said on a topic of commands.
struct Heard {
    command: Result<Command, CommandError>,
    topic: Text,
}

/// Waits for the next of them, or for the broker to say something else. Cancel-safe.
async fn hear<T: Read + Write>(
    connection: &mut Connection<'_, '_, T>,
    controls: ControlTopics<'_>,
) -> Result<Option<Heard>, MqttEnd> {
    let Some(message) = connection.poll().await? else { return Ok(None) };
    let delivery = Delivery::from_retain_flag(message.retained());
    let command = controls.parse(message.topic(), message.payload(), delivery).transpose();
    Ok(command.map(|command| Heard { command, topic: text(message.topic()) }))
}

/// Why a command is not obeyed.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Setting(SetError),
    #[error("{0}")]
    Hooks(&'static str),
}

/// Why a part of a picture was not sent.
enum Unsent {
    TooLarge,
    Lost(MqttEnd),
}

impl<E> From<Error<E>> for MqttEnd {
    fn from(error: Error<E>) -> Self {
        match error {
            Error::Peer(PeerError::Rejected(
                ReasonCode::BadUsernameOrPassword | ReasonCode::NotAuthorized,
            )) => Self::NotAllowed,
            // What older brokers say to MQTT 5 reads as this, too.
            Error::Peer(PeerError::Rejected(ReasonCode::UnsupportedProtocol)) => Self::Protocol,
            Error::Peer(PeerError::Rejected(_)) => Self::Refused,
            Error::Peer(_) => Self::Protocol,
            _ => Self::Closed,
        }
    }
}

/// The connection is well: the message was at fault.
fn is_local<E>(error: &Error<E>) -> bool {
    matches!(error, Error::Resource(_) | Error::InvalidRequest)
}

/// Room for a topic and a reason.
type Text = String<{ Topic::MAX_LEN + 104 }>;

/// A text of ours. One of somebody else's that is too long is left out.
fn text(content: impl Display) -> Text {
    let mut text = Text::new();
    let _ = write!(text, "{content}");
    text
}

/// The lamp's level for a brightness: along the curve, and never dark for what is not off.
fn level(led: Led) -> i16 {
    let most = 255;
    (u32::from(led.duty()) * most).div_ceil(8192) as i16
}

/// What the future gives without waiting.
fn at_once<F: Future>(future: F) -> Select<F, Ready<()>> {
    select(future, ready(()))
}
