mod discovery;
mod frames;
mod refusals;
mod requests;

use core::net::Ipv4Addr;
use core::time::Duration;

use camwire_frame::{FrameRate, Instant, Setting, SettingName};

use crate::number::Text;
use crate::{
    ChunkerError, Command, ControlTopics, Delivery, Dialect, Greeting, Led, MotorWatchdog, Outputs,
    Prefix, Retain, Speed, Topic,
};
use discovery::{Entities, Entity};
use frames::Output;
use refusals::Refusals;
use requests::Requests;

pub use discovery::{Device, Discovery};
pub use frames::{Captured, FrameMessages};
pub use refusals::{Refusal, RefusalReason};

/// What a camera is called on its broker, and how it behaves there.
///
/// ```
/// use camwire_mqtt::{Prefix, Retain, SessionConfig};
///
/// # fn main() -> Result<(), camwire_mqtt::PrefixError> {
/// let mut config = SessionConfig::new(Prefix::new("camwire/garden")?);
/// config.whole = Some(Retain::No);
/// config.largest_packet = 100_000;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SessionConfig<'a> {
    /// What the topics of frames and status begin with. Each camera at a broker has one of its
    /// own: `camwire/` and the number of the chip, or the name of the machine.
    pub prefix: Prefix<'a>,
    /// What the topics of commands begin with. The prefix by default.
    pub control: Prefix<'a>,
    /// How commands are read. [`Dialect::Camwire`] by default.
    pub dialect: Dialect,
    /// Publishes frames in the framed layout: a number that is another after each start, best a
    /// random one. `None` by default.
    pub framed: Option<u32>,
    /// Publishes frames in the layout of the existing ESP32 camera, and greets as it does. `None`
    /// by default.
    pub indexed: Option<Retain>,
    /// Publishes whole frames, as Home Assistant takes them. `None` by default.
    pub whole: Option<Retain>,
    /// Bytes of the largest packet that the client and the broker take; 2,000,000 by default, as
    /// mosquitto does.
    pub largest_packet: u32,
    /// Bytes of the largest packet in the framed layout, so that other messages get in between its
    /// parts; 65,536 by default. [`largest_packet`](Self::largest_packet) holds for it, too.
    pub framed_packet: u32,
    /// Whether frames are published from the start. On by default.
    pub publishing: Publishing,
    /// The most frames a second. By default all that are captured, but with discovery at most
    /// [two whole ones](CameraSession::DISCOVERY_RATE): Home Assistant shows no more. `set/fps`
    /// changes it.
    pub rate: Option<FrameRate>,
    /// Whether there are motors that [`poll_motors`](CameraSession::poll_motors) drives. By
    /// default there are none, and commands for them are rejected.
    pub has_motors: bool,
    /// What Home Assistant learns. Nothing by default.
    pub discovery: Discovery<'a>,
}

impl<'a> SessionConfig<'a> {
    /// A camera that publishes from the start and takes commands in our dialect, all under one
    /// prefix; in no layout yet.
    #[must_use]
    pub const fn new(prefix: Prefix<'a>) -> Self {
        Self {
            prefix,
            control: prefix,
            dialect: Dialect::Camwire,
            framed: None,
            indexed: None,
            whole: None,
            largest_packet: 2_000_000,
            framed_packet: 65_536,
            publishing: Publishing::On,
            rate: None,
            has_motors: false,
            discovery: Discovery::Off,
        }
    }

    /// As the existing ESP32 camera (esp32_mqtt_livestream) does it: parts that are retained, not
    /// before they are requested, and five frames a second.
    #[must_use]
    pub const fn like_esp32cam(prefix: Prefix<'a>, control: Prefix<'a>) -> Self {
        Self {
            control,
            dialect: Dialect::Esp32Cam,
            indexed: Some(Retain::Yes),
            publishing: Publishing::Off,
            rate: FrameRate::per_second(5),
            ..Self::new(prefix)
        }
    }

    /// Whether Home Assistant has something to show.
    const fn announces(&self) -> Option<&Device<'a>> {
        match &self.discovery {
            Discovery::Announce(device) if self.whole.is_some() => Some(device),
            _ => None,
        }
    }
}

/// Whether frames are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publishing {
    /// They are, from the start.
    On,
    /// Not before `camera/stream/start` or `camera/shot`.
    Off,
}

/// A message to publish. Its payload is the head and then the body. All are sent with quality of
/// service 0: what is repeated comes too late, and what must last is retained and sent again with
/// each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<'b> {
    /// Where to.
    pub topic: &'b str,
    /// The first bytes of the payload; may be empty.
    pub head: &'b [u8],
    /// The rest of the payload: for a part of a frame, a slice of the frame. May be empty.
    pub body: &'b [u8],
    /// Whether the broker is to keep it.
    pub retain: Retain,
}

/// What became of a message from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It is meant for others, or says nothing new.
    Ignored,
    /// It is applied, or will be: ask the `poll_` functions again.
    Accepted,
    /// It is rejected, which will be reported on [`Prefix::refused`].
    Rejected(Refusal<'a>),
    /// It is rejected; so many are that this one is only counted.
    RejectedUnreported(Refusal<'a>),
}

/// Figures of a camera, for [`CameraSession::update_stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Frames that are captured in 1000 seconds.
    pub millihertz: u32,
    /// How many viewers there are, of all outputs; `None` if that is unknown.
    pub viewers: Option<u32>,
    /// Strength of the Wi-Fi signal in dBm; `None` if that is unknown.
    pub signal: Option<i8>,
}

/// The conversation of a camera with an MQTT broker: what to say when connected, what a message
/// means, and when a frame is due. It has no client, no socket and no clock, allocates nothing, and
/// needs about 2 KB.
///
/// The transport connects with the will of [`offline`](Self::offline), calls
/// [`connected`](Self::connected), subscribes to [`filters`](Self::filters), and then, until the
/// connection ends:
///
/// - gives every message to [`handle_input`](Self::handle_input), and what is new of the camera to
///   the `update_` functions;
/// - after that, and when [`poll_timeout`](Self::poll_timeout) has come, sends what
///   [`poll_transmit`](Self::poll_transmit) gives, has the source apply what
///   [`poll_setting`](Self::poll_setting) gives, and the motors what
///   [`poll_motors`](Self::poll_motors) gives;
/// - reads frames while [`frame_due`](Self::frame_due) is something, and sends the messages of
///   [`publish`](Self::publish), between which it goes on with the rest.
///
/// ```
/// use camwire_frame::Instant;
/// use camwire_mqtt::{
///     CameraSession, Captured, Delivery, Outcome, Prefix, Retain, SessionConfig, Topic,
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut sent = Vec::new();
/// # let now = Instant::ZERO;
/// let mut config = SessionConfig::new(Prefix::new("camwire/garden")?);
/// config.whole = Some(Retain::No);
/// let mut session = CameraSession::new(config)?;
/// let mut buf = [0; CameraSession::BUFFER_LEN];
///
/// session.connected(now, None);
/// while let Some(message) = session.poll_transmit(now, &mut buf) {
///     sent.push((message.topic.to_owned(), message.body.to_owned()));
/// }
/// assert_eq!(sent[0], ("camwire/garden/status".to_owned(), b"online".to_vec()));
///
/// // A command, which is for the source.
/// let outcome =
///     session.handle_input("camwire/garden/set/quality", b"20", Delivery::Live, now);
/// assert_eq!(outcome, Outcome::Accepted);
/// let setting = session.poll_setting().expect("the quality");
/// # let _ = setting;
/// session.setting_applied(Ok(()));
///
/// // A frame.
/// assert_eq!(session.frame_due(), Some(Instant::ZERO), "at once");
/// let frame: &[u8] = &[0xA5; 30_000];
/// let captured = Captured { at: now, missed: 0, unix_offset: None };
/// for message in session.publish(frame, captured, now) {
///     let mut topic = [0; Topic::MAX_LEN];
///     let message = message.transmit(&mut topic);
///     assert_eq!((message.topic, message.body), ("camwire/garden/image", frame));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CameraSession<'a> {
    config: SessionConfig<'a>,
    controls: ControlTopics<'a>,
    outputs: [Option<Output<'a>>; 3],
    is_publishing: bool,
    /// When a single frame was requested.
    shot: Option<Instant>,
    rate: Option<FrameRate>,
    settings: [Option<i16>; SettingName::ALL.len()],
    is_source_available: bool,
    stats: Stats,
    next_stats: Instant,
    requests: Requests,
    refusals: Refusals,
    motors: MotorWatchdog,
    /// What the caller was given last.
    driven: Outputs,
    link: Option<Link>,
    retry_after: Duration,
    due: Due,
    entities: Entities,
    unsent: u32,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
struct Link {
    since: Instant,
    own: Option<Ipv4Addr>,
}

/// What is to be sent once.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    status: Option<&'static [u8]>,
    greeting: bool,
    source: bool,
    state: bool,
}

/// One of the messages that the session itself writes.
#[derive(Clone, Copy, Debug)]
enum Item {
    Status(&'static [u8]),
    Greeting,
    Refusal(Option<(u8, RefusalReason)>, u32),
    Source,
    State,
    Entity(Entity),
    Stats,
}

const ONLINE: &[u8] = b"online";
const OFFLINE: &[u8] = b"offline";

/// How long after a lost connection the next attempt begins: twice as long each time, up to the
/// second. So a broker that is back has the camera within 5 s, and never more than one or two
/// attempts in a second.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_millis(1500);
/// A connection that lasted so long was good: the next attempt comes after the first pause again.
const STABLE: Duration = Duration::from_secs(10);

impl<'a> CameraSession<'a> {
    /// Bytes of the longest payload of a command. Longer ones are rejected.
    pub const LARGEST_COMMAND: usize = 1024;

    /// Filters for one SUBSCRIBE packet: some brokers take no more.
    pub const FILTERS_AT_ONCE: usize = 8;

    /// Bytes of memory for [`poll_transmit`](Self::poll_transmit) that are enough if prefixes and
    /// names have up to 64 bytes, none of which JSON or an identifier has to escape.
    pub const BUFFER_LEN: usize = 1536;

    /// How often [`Stats`] are published to Home Assistant.
    pub const STATS_PERIOD: Duration = Duration::from_secs(10);

    /// Whole frames a second with discovery, in thousandths, unless a rate is requested.
    pub const DISCOVERY_RATE: u32 = 2000;

    /// A session that is not connected.
    ///
    /// # Errors
    ///
    /// [`ChunkerError`] if packets are too small for a layout.
    #[inline] // It is large: the caller makes it where it stays.
    pub const fn new(config: SessionConfig<'a>) -> Result<Self, ChunkerError> {
        let outputs = match Output::of(&config) {
            Ok(outputs) => outputs,
            Err(error) => return Err(error),
        };
        Ok(Self {
            controls: ControlTopics::new(config.control, config.dialect),
            outputs,
            is_publishing: matches!(config.publishing, Publishing::On),
            shot: None,
            rate: config.rate,
            settings: [None; SettingName::ALL.len()],
            is_source_available: true,
            stats: Stats { millihertz: 0, viewers: None, signal: None },
            next_stats: Instant::ZERO,
            requests: Requests::new(),
            refusals: Refusals::new(),
            motors: MotorWatchdog::new(),
            driven: Outputs::STANDING,
            link: None,
            retry_after: FIRST_RETRY,
            due: Due { status: None, greeting: false, source: false, state: false },
            entities: Entities::NONE,
            unsent: 0,
            config,
        })
    }

    /// What was configured.
    #[must_use]
    pub const fn config(&self) -> &SessionConfig<'a> {
        &self.config
    }

    /// The last will: what the broker publishes when the camera is gone, retained.
    #[must_use]
    pub const fn offline(&self) -> (Topic<'a>, &'static [u8]) {
        (self.config.prefix.status(), OFFLINE)
    }

    /// The topics to subscribe to, all of them exact: those of commands, and with discovery where
    /// Home Assistant reports that it has started.
    pub fn filters(&self) -> impl Iterator<Item = Topic<'a>> + Clone + use<'a> {
        let home = self.config.announces().map(|device| device.prefix.status());
        self.controls.filters().chain(home)
    }

    /// The broker has accepted the connection. `own` is this side's address, if it is known; it
    /// is in the greeting and in the address of the camera's page.
    ///
    /// Everything that is retained is due again. What was requested by commands stays as it is.
    pub fn connected(&mut self, now: Instant, own: Option<Ipv4Addr>) {
        self.link = Some(Link { since: now, own });
        let greeting = self.config.indexed.is_some() && own.is_some();
        self.due = Due { status: Some(ONLINE), greeting, source: true, state: true };
        self.next_stats = now;
        self.announce();
    }

    /// The connection is lost, or did not come about. Returns when to try again.
    pub fn disconnected(&mut self, now: Instant) -> Instant {
        if self.link.take().is_some_and(|link| now.saturating_since(link.since) >= STABLE) {
            self.retry_after = FIRST_RETRY;
        }
        self.due = Due::default();
        self.entities = Entities::NONE;
        let at = now + self.retry_after;
        self.retry_after = self.retry_after.saturating_mul(2).min(LONGEST_RETRY);
        at
    }

    /// The camera ends: [`poll_transmit`](Self::poll_transmit) reports that it is gone, and
    /// nothing more.
    pub fn close(&mut self) {
        if self.link.is_some() {
            self.due = Due { status: Some(OFFLINE), ..Due::default() };
        }
        self.entities = Entities::NONE;
        self.refusals = Refusals::new();
        (self.is_publishing, self.shot) = (false, None);
    }

    /// The broker or the client takes no packets larger than `largest_packet` bytes. It never
    /// grows again.
    ///
    /// # Errors
    ///
    /// [`ChunkerError`] if that is too small for a layout; the limit stays as it was.
    pub fn limit_packets(&mut self, largest_packet: u32) -> Result<(), ChunkerError> {
        if largest_packet < self.config.largest_packet {
            let config = SessionConfig { largest_packet, ..self.config };
            for (output, limited) in self.outputs.iter_mut().zip(Output::of(&config)?) {
                if let (Some(output), Some(limited)) = (output, limited) {
                    output.limit(&limited);
                }
            }
            self.config = config;
        }
        Ok(())
    }

    /// A message from the broker. Topics that are not among the [`filters`](Self::filters) are
    /// ignored.
    pub fn handle_input(
        &mut self,
        topic: &str,
        payload: &[u8],
        delivery: Delivery,
        now: Instant,
    ) -> Outcome<'a> {
        if self.is_home_status(topic) {
            if payload != ONLINE {
                return Outcome::Ignored;
            }
            self.announce();
            return Outcome::Accepted;
        }
        let Some(index) = self.controls.index(topic) else { return Outcome::Ignored };
        if payload.len() > Self::LARGEST_COMMAND {
            return self.reject(index, RefusalReason::TooLong);
        }
        match self.controls.parse(topic, payload, delivery) {
            Ok(None) => Outcome::Ignored,
            Ok(Some(command)) => match self.apply(index, command, now) {
                Ok(()) => Outcome::Accepted,
                Err(reason) => self.reject(index, reason),
            },
            Err(error) => self.reject(index, RefusalReason::Command(error)),
        }
    }

    /// A message on this topic was too large for the client, which has skipped it.
    pub fn handle_skipped(&mut self, topic: &str) -> Outcome<'a> {
        match self.controls.index(topic) {
            Some(index) => self.reject(index, RefusalReason::TooLong),
            None => Outcome::Ignored,
        }
    }

    /// The next setting that the source is to apply: of each name the newest. There is none before
    /// [`setting_applied`](Self::setting_applied) is called for the one before.
    pub fn poll_setting(&mut self) -> Option<Setting> {
        self.requests.next()
    }

    /// What became of the setting that [`poll_setting`](Self::poll_setting) gave last. A reason
    /// why it is not applied is reported to the broker.
    pub fn setting_applied(&mut self, result: Result<(), RefusalReason>) {
        let Some(topic) = self.requests.finish() else { return };
        if let Err(reason) = result {
            self.reject(topic, reason);
        }
    }

    /// The settings of the source have changed, or may have.
    pub fn update_settings(&mut self, get: impl Fn(SettingName) -> Option<Setting>) {
        let announced = self.announceable();
        for (present, name) in self.settings.iter_mut().zip(SettingName::ALL) {
            let number = get(*name).map(|setting| setting.number());
            self.due.state |= *present != number;
            *present = number;
        }
        if self.link.is_some() && self.announceable() != announced {
            self.announce();
        }
    }

    /// Whether the source gives frames, or would if it were asked. It does until this says
    /// otherwise.
    pub fn update_source(&mut self, is_available: bool) {
        self.due.source |= self.is_source_available != is_available;
        self.is_source_available = is_available;
    }

    /// The present figures. They are published with discovery only, and each
    /// [10 s](Self::STATS_PERIOD) only.
    pub fn update_stats(&mut self, stats: Stats) {
        self.stats = stats;
    }

    /// The next message that is not a part of a frame, written into `buf`.
    ///
    /// One that does not fit is left out and [counted](Self::unsent).
    pub fn poll_transmit<'b>(&mut self, now: Instant, buf: &'b mut [u8]) -> Option<Transmit<'b>> {
        self.link?;
        while let Some(item) = self.next_item(now) {
            let Some((topic_len, len)) = self.compose(item, buf) else {
                self.unsent = self.unsent.saturating_add(1);
                continue;
            };
            let (topic, rest) = buf.split_at_checked(topic_len)?;
            let (topic, body) = (core::str::from_utf8(topic).ok()?, rest.get(..len)?);
            let retain = match item {
                Item::Greeting | Item::Refusal(..) | Item::Stats => Retain::No,
                Item::Status(_) | Item::Source | Item::State | Item::Entity(_) => Retain::Yes,
            };
            return Some(Transmit { topic, head: &[], body, retain });
        }
        None
    }

    /// How many messages did not fit the memory that [`poll_transmit`](Self::poll_transmit) was
    /// given.
    #[must_use]
    pub const fn unsent(&self) -> u32 {
        self.unsent
    }

    /// What the motors are to do, if that has changed: to be applied at once. Both stop a second
    /// after the last heartbeat, whether connected or not.
    ///
    /// Stop the motors at [`Outputs::until`] by a timer that does not depend on the transport, which may
    /// be stuck.
    pub fn poll_motors(&mut self, now: Instant) -> Option<Outputs> {
        let outputs = self.motors.outputs(now);
        let has_changed = outputs != self.driven;
        self.driven = outputs;
        has_changed.then_some(outputs)
    }

    /// When to poll again even if nothing comes from the broker or the source. Frames have a time
    /// of their own: [`frame_due`](Self::frame_due).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stats = self.link.filter(|_| self.config.announces().is_some());
        let stats = stats.map(|_| self.next_stats);
        [stats, self.driven.until].into_iter().flatten().min()
    }

    /// From when on a frame is to be read: [`Instant::ZERO`] for at once; `None` while no frame is
    /// wanted.
    #[must_use]
    pub fn frame_due(&self) -> Option<Instant> {
        self.link?;
        let outputs = self.outputs.iter().flatten();
        if self.shot.is_some() {
            return outputs.map(|_| Instant::ZERO).next();
        }
        let due = outputs.map(|output| output.due().unwrap_or(Instant::ZERO)).min();
        due.filter(|_| self.is_publishing)
    }

    /// The messages of a frame, in each layout whose turn it is; none if the frame is older than
    /// the request that it would satisfy, or not due.
    pub fn publish<'p>(
        &mut self,
        frame: &'p [u8],
        captured: Captured,
        now: Instant,
    ) -> FrameMessages<'a, 'p> {
        let mut messages = FrameMessages::none();
        if self.link.is_none() {
            return messages;
        }
        let is_shot = self.shot.is_some_and(|asked| captured.at >= asked);
        if is_shot {
            self.shot = None;
        }
        for output in self.outputs.iter_mut().flatten() {
            let is_due = self.is_publishing && output.admit(now);
            if is_due || is_shot {
                messages.push(output.split(frame, captured));
            }
        }
        messages
    }

    fn is_home_status(&self, topic: &str) -> bool {
        let rest = self.config.announces().and_then(|device| device.prefix.rest(topic));
        rest == Some(b"status")
    }

    fn apply(&mut self, topic: u8, command: Command, now: Instant) -> Result<(), RefusalReason> {
        match command {
            Command::Set(setting) => self.requests.push(topic, setting),
            Command::Led(led) => self.requests.push(topic, lamp(led)),
            Command::Rate(rate) => {
                if self.rate != Some(rate) {
                    self.rate = Some(rate);
                    self.due.state = true;
                    self.outputs.iter_mut().flatten().for_each(|output| output.set_rate(rate));
                }
            }
            Command::Shot => self.shot = Some(now),
            Command::StartStream | Command::StopStream => {
                let is_publishing = command == Command::StartStream;
                self.due.state |= self.is_publishing != is_publishing;
                self.is_publishing = is_publishing;
            }
            Command::Motor(..) | Command::Heartbeat if !self.config.has_motors => {
                return Err(RefusalReason::NoMotors);
            }
            Command::Motor(motor, speed) => {
                self.motors.set(motor, speed, now).map_err(|_| RefusalReason::NoHeartbeat)?;
            }
            Command::Heartbeat => self.motors.heartbeat(now),
        }
        Ok(())
    }

    fn reject(&mut self, topic: u8, reason: RefusalReason) -> Outcome<'a> {
        let is_reported = self.refusals.push(topic, reason);
        // It is the place of one of the filters.
        let Some(topic) = self.controls.topic(topic) else { return Outcome::Ignored };
        let refusal = Refusal { topic, reason };
        if is_reported { Outcome::Rejected(refusal) } else { Outcome::RejectedUnreported(refusal) }
    }

    /// All that Home Assistant is to know, or to forget, is due.
    fn announce(&mut self) {
        self.entities = self.announceable();
    }

    fn announceable(&self) -> Entities {
        match self.config.discovery {
            Discovery::Remove(_) => Entities::ALL,
            Discovery::Announce(_) if self.config.whole.is_some() => {
                let has = |name: SettingName| {
                    let mut settings = SettingName::ALL.iter().zip(&self.settings);
                    settings.any(|(known, number)| *known == name && number.is_some())
                };
                self.config.entities(has)
            }
            Discovery::Off | Discovery::Announce(_) => Entities::NONE,
        }
    }

    /// What is to be sent next. It counts as sent.
    fn next_item(&mut self, now: Instant) -> Option<Item> {
        if let Some(status) = self.due.status.take() {
            return Some(Item::Status(status));
        }
        for (due, item) in [
            (&mut self.due.greeting, Item::Greeting),
            (&mut self.due.source, Item::Source),
            (&mut self.due.state, Item::State),
        ] {
            if core::mem::take(due) {
                return Some(item);
            }
        }
        if let Some((refusal, more)) = self.refusals.next() {
            return Some(Item::Refusal(refusal, more));
        }
        if let Some(entity) = self.entities.next() {
            return Some(Item::Entity(entity));
        }
        if self.config.announces().is_some() && now >= self.next_stats {
            self.next_stats = now + Self::STATS_PERIOD;
            return Some(Item::Stats);
        }
        None
    }

    /// Writes a topic and, behind it, a payload. Returns the lengths of both, if they fit.
    fn compose(&self, item: Item, buf: &mut [u8]) -> Option<(usize, usize)> {
        let prefix = self.config.prefix;
        let mut memory = [0; Topic::MAX_LEN];
        let mut topic = Text::new(buf);
        match item {
            Item::Status(_) => topic.push(prefix.status().encode(&mut memory).as_bytes()),
            Item::Greeting => topic.push(Greeting::TOPIC.as_bytes()),
            Item::Refusal(..) => topic.push(prefix.refused().encode(&mut memory).as_bytes()),
            Item::Source => topic.push(prefix.source().encode(&mut memory).as_bytes()),
            Item::State => topic.push(prefix.state().encode(&mut memory).as_bytes()),
            Item::Stats => topic.push(prefix.stats().encode(&mut memory).as_bytes()),
            Item::Entity(entity) => entity.write_topic(&self.config, &mut topic),
        }
        let topic_len = topic.whole()?;
        let mut text = Text::new(buf.get_mut(topic_len..)?);
        match item {
            Item::Status(status) => text.push(status),
            Item::Greeting => {
                let address = self.link?.own?;
                let greeting = Greeting { address, control: self.config.control };
                let _ = core::fmt::write(&mut text, format_args!("{greeting}")); // It takes all.
            }
            Item::Refusal(Some((index, reason)), _) => {
                let refused = self.controls.topic(index)?;
                text.push(refused.encode(&mut memory).as_bytes());
                let _ = core::fmt::write(&mut text, format_args!(": {reason}")); // As above.
            }
            Item::Refusal(None, more) => {
                text.push(b"too many at once: ");
                text.push_number(more);
                text.push(b" more");
            }
            Item::Source if self.is_source_available => text.push(ONLINE),
            Item::Source => text.push(OFFLINE),
            Item::State => self.write_state(&mut text),
            Item::Entity(entity) => {
                entity.write_payload(&self.config, self.link?.own, &mut text);
            }
            Item::Stats => self.write_stats(&mut text),
        }
        Some((topic_len, text.whole()?))
    }

    /// JSON: what is requested here, and the settings as `/status` has them.
    fn write_state(&self, text: &mut Text<'_>) {
        text.push(b"{\"publishing\":");
        text.push(if self.is_publishing { b"true" } else { b"false" });
        if let Some(rate) = self.rate {
            text.push(b",\"fps\":");
            text.push_thousandths(rate.as_millihertz() as i32); // At most a million.
        }
        for (name, number) in SettingName::ALL.iter().zip(self.settings) {
            let Some(number) = number else { continue };
            if let Some(Setting::Resolution(size)) = name.with_number(number) {
                text.push(b",\"resolution\":\"");
                text.push_number(size.width().into());
                text.push(b"x");
                text.push_number(size.height().into());
                text.push(b"\"");
            }
            text.push(b",\"");
            text.push(name.as_str().as_bytes());
            text.push(b"\":");
            text.push_thousandths(i32::from(number).saturating_mul(1000)); // It does not saturate.
        }
        text.push(b"}");
    }

    fn write_stats(&self, text: &mut Text<'_>) {
        let Stats { millihertz, viewers, signal } = self.stats;
        text.push(b"{\"fps\":");
        // With one decimal place: nobody reads more. A source has at most 1000 frames a second.
        let rounded = millihertz.saturating_add(50).min(1_000_000) / 100;
        text.push_thousandths((rounded as i32).saturating_mul(100));
        if let Some(viewers) = viewers {
            text.push(b",\"viewers\":");
            text.push_number(viewers);
        }
        if let Some(signal) = signal {
            text.push(b",\"signal\":");
            text.push_thousandths(i32::from(signal).saturating_mul(1000)); // It does not saturate.
        }
        text.push(b"}");
    }
}

/// The lamp's level for a brightness: along the curve, and never dark for what is not off.
fn lamp(led: Led) -> Setting {
    const MOST: u32 = 255;
    let level = u32::from(led.duty()).saturating_mul(MOST).div_ceil(8192);
    // At most 255, since no duty is above 8192.
    Setting::Lamp(camwire_frame::Ranged::new(level as i16).unwrap_or(camwire_frame::Ranged::MAX))
}

impl Outputs {
    /// Both motors stand still.
    const STANDING: Self = Self { speeds: [Speed::STOP; 2], until: None };
}
