//! The camera at a broker: a reader of the ring that publishes, and commands that are obeyed.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camwire::capture::{Follow, FrameLease, FrameRing, Settings};
use camwire::frame::{Clock, FrameRate, Pacer, Ranged, Setting, SettingName};
use camwire::mqtt::{
    Chunker, ChunkerError, Command, ControlTopics, Delivery, Dialect, Greeting, Led, Prefix,
    Retain, Stamp,
};
use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, Packet, Publish, QoS, Request, Subscribe,
    SubscribeFilter,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::address::Broker;
use super::connection::{BrokerError, ended, network, options, refuses};
use super::{Layout, MqttArgs, MqttError, Told, discovery};
use crate::clock::HostClock;

/// Waits between attempts to connect. Whoever waits for the camera should have it within 5 s of
/// the broker's return.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A connection that has lasted so long is a good one: the next attempt after it is made at once. A
/// broker may also accept everybody and then throw them out, each time.
const GOOD: Duration = Duration::from_secs(5);

/// Answers that may wait to be sent. More at once are a mistake or mischief, and are only counted.
const ANSWERS: usize = 256;

/// Bytes of the largest payload of a command.
const LARGEST_COMMAND: usize = 1024;

/// Bytes of a command's topic that are repeated in the answer.
const LARGEST_TOPIC: usize = 256;

/// Filters in one SUBSCRIBE packet: some brokers take no more.
const FILTERS_AT_ONCE: usize = 8;

/// Bytes of the largest message that does not end the connection.
const LARGEST_MESSAGE: usize = 1 << 20;

/// How often to look whether somebody else has set the source to something.
const LOOK: Duration = Duration::from_millis(250);

/// How long the source may take to obey.
const OBEY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long there is to say farewell.
const FAREWELL: Duration = Duration::from_millis(300);

/// What of the program the door needs.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    pub(crate) ring: &'static FrameRing<'static>,
    pub(crate) settings: &'static Settings,
    pub(crate) clock: HostClock,
}

/// Publishes while it lives.
pub(crate) struct Door {
    camera: Arc<Camera>,
    connected: watch::Receiver<bool>,
    connection: JoinSet<()>,
    work: JoinSet<()>,
}

impl Door {
    /// Connects to the broker, now or when it comes, and again when the connection is lost.
    pub(crate) fn open(args: &MqttArgs, broker: Broker, host: Host) -> Result<Self, MqttError> {
        // As long as the program.
        let text = |text: &str| -> &'static str { text.to_owned().leak() };
        let prefix = Prefix::new(text(&args.mqtt_prefix)).expect("checked when it was parsed");
        let control = args.mqtt_control_prefix.as_ref().unwrap_or(&args.mqtt_prefix);
        let control = Prefix::new(text(control)).expect("checked when it was parsed");
        let chunkers = chunkers(args, prefix)?;
        let is_indexed = args.mqtt_layout.contains(&Layout::Indexed);
        let is_theirs = is_indexed || control.as_str().split('/').next() == Some("esp32auto");
        let dialect = if is_theirs { Dialect::Esp32Cam } else { Dialect::Camwire };
        let discovery = args.discovery();

        let status = prefix.status().to_string();
        let mut options = options(&broker, LARGEST_MESSAGE, usize::MAX);
        options.set_last_will(LastWill::new(&status, "offline", QoS::AtMostOnce, true));
        // Without a queue: a part is taken when the one before it has gone to the socket.
        let (client, mut events) = AsyncClient::new(options, 0);
        events.set_network_options(network(false));

        let wanted = Wanted { publishing: args.mqtt_publish, shots: 0, rate: args.mqtt_fps };
        let (connected_tx, connected) = watch::channel(false);
        let (answer, answers) = mpsc::channel(ANSWERS);
        let camera = Arc::new(Camera {
            client,
            connected: connected.clone(),
            wanted: watch::Sender::new(wanted),
            chunkers,
            control: ControlTopics::new(control, dialect),
            control_prefix: control,
            greets: is_indexed,
            discovery: discovery.map(|discovery| discovery::message(discovery, prefix.as_str())),
            home_assistant: discovery.map(discovery::status_topic),
            refused: prefix.refused().to_string(),
            state: format!("{}/state", prefix.as_str()),
            status,
            sent: AtomicBool::new(false),
            settings: Mutex::default(),
            settings_wait: Notify::new(),
            answer,
            unanswered: AtomicUsize::new(0),
            host,
        });
        let mut connection = JoinSet::new();
        connection.spawn(Arc::clone(&camera).stay_connected(events, broker, connected_tx));
        let mut work = JoinSet::new();
        work.spawn(Arc::clone(&camera).publish());
        work.spawn(Arc::clone(&camera).obey());
        work.spawn(Arc::clone(&camera).answer(answers));
        work.spawn(Arc::clone(&camera).tell_state());
        Ok(Self { camera, connected, connection, work })
    }

    /// Says that the camera is gone, if there is anybody to say it to.
    pub(crate) async fn close(mut self) {
        self.work.shutdown().await;
        let farewell = async {
            if *self.connected.borrow() {
                let Camera { client, status, .. } = &*self.camera;
                let _ = client.publish(status, QoS::AtMostOnce, true, "offline").await;
                let _ = client.disconnect().await;
                let _ = self.connected.wait_for(|connected| !connected).await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        self.connection.shutdown().await;
    }
}

/// What becomes of a picture, once for each layout that is wanted.
fn chunkers(args: &MqttArgs, prefix: Prefix<'static>) -> Result<Vec<Chunker<'static>>, MqttError> {
    let retain = if args.mqtt_retain { Retain::Yes } else { Retain::No };
    let chunker = |layout: &Layout| -> Result<Chunker<'static>, (u32, ChunkerError)> {
        // mosquitto 2.1 takes 2,000,000 bytes by default. Parts may be smaller, so that messages
        // of others come in between.
        let default = if *layout == Layout::Framed { 64 << 10 } else { 2_000_000 };
        let packet = args.mqtt_packet.unwrap_or(default);
        let chunker = match layout {
            Layout::Framed => Chunker::framed(prefix, super::random(), packet),
            Layout::Indexed => Chunker::indexed(prefix, retain, packet),
            Layout::Whole => Chunker::whole(prefix, retain, packet),
        };
        chunker.map_err(|error| (packet, error))
    };
    let chunkers = args.mqtt_layout.iter().map(chunker).collect::<Result<_, _>>();
    chunkers.map_err(|(packet, error)| MqttError::Packet(packet, error))
}

/// What is wanted of the camera at this door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    publishing: bool,
    /// How often one picture was asked for; it wraps around.
    shots: u32,
    rate: Option<FrameRate>,
}

struct Camera {
    client: AsyncClient,
    connected: watch::Receiver<bool>,
    wanted: watch::Sender<Wanted>,
    chunkers: Vec<Chunker<'static>>,
    control: ControlTopics<'static>,
    control_prefix: Prefix<'static>,
    /// Whether it introduces itself as the existing camera does.
    greets: bool,
    /// Topic and payload for Home Assistant.
    discovery: Option<(String, String)>,
    /// Where Home Assistant says that it has come.
    home_assistant: Option<String>,
    status: String,
    state: String,
    refused: String,
    /// Whether any of a picture has been handed over since the connection was made.
    sent: AtomicBool,
    /// Those that wait for the source, of each name the newest, with the topic they came by.
    settings: Mutex<Vec<(String, Setting)>>,
    settings_wait: Notify,
    answer: mpsc::Sender<Outgoing>,
    /// How many answers there was no room for.
    unanswered: AtomicUsize,
    host: Host,
}

struct Outgoing {
    topic: String,
    payload: Vec<u8>,
    retain: bool,
}

// The connection.
impl Camera {
    async fn stay_connected(
        self: Arc<Self>,
        mut events: EventLoop,
        broker: Broker,
        connected: watch::Sender<bool>,
    ) {
        let mut told = Told::default();
        let mut backoff = BACKOFF.0;
        let mut since = None;
        let mut was_short = false;
        // SUBSCRIBE packets that are not confirmed, and what the broker says of the others.
        let (mut unconfirmed, mut granted) = (0, Vec::new());
        loop {
            // Always to its end: a poll that is dropped may lose a message.
            let event = events.poll().await;
            if since.is_some_and(|since: Instant| since.elapsed() > GOOD) {
                since = None;
                backoff = BACKOFF.0;
                told.forget();
                if was_short && event.is_ok() {
                    log::info!("publishing at the broker {broker}");
                }
                was_short = false;
            }
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    since = Some(Instant::now());
                    self.sent.store(false, Ordering::Relaxed);
                    events.set_network_options(network(true));
                    // Before anything else that is to be sent.
                    let introduction = self.introduction();
                    let is_subscribe =
                        |request: &&Request| matches!(request, Request::Subscribe(_));
                    unconfirmed = introduction.iter().filter(is_subscribe).count();
                    granted.clear();
                    events.pending.extend(introduction);
                    connected.send_replace(true);
                }
                Ok(Event::Incoming(Packet::Publish(message))) => self.receive(&message),
                Ok(Event::Incoming(Packet::SubAck(answer))) => {
                    granted.extend(answer.return_codes);
                    unconfirmed = unconfirmed.saturating_sub(1);
                    if unconfirmed == 0 && !was_short {
                        // From this line on, commands are received.
                        log::info!("publishing at the broker {broker}");
                        if refuses(&granted) {
                            log::warn!(
                                "the broker {broker} does not allow to subscribe to commands"
                            );
                        }
                    }
                }
                Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => {
                    connected.send_replace(false);
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    let was_connected = connected.send_replace(false);
                    events.set_network_options(network(false));
                    was_short |= since.take().is_some();
                    let error = ended(&broker, was_connected, error);
                    let is_lost = was_short && matches!(error, BrokerError::Lost(_));
                    let hint = if is_lost && self.sent.load(Ordering::Relaxed) {
                        " soon after it was sent a picture: perhaps its packets are larger than \
                         the broker allows (see --mqtt-packet)"
                    } else {
                        ""
                    };
                    told.warn(format!("{error}{hint}"));
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// What is said at each connection.
    fn introduction(&self) -> Vec<Request> {
        let filters = self.control.filters().map(|filter| filter.to_string());
        let filters = filters.chain(self.home_assistant.clone());
        let filters = filters.map(|filter| SubscribeFilter::new(filter, QoS::AtMostOnce));
        let filters: Vec<_> = filters.collect();
        let packets = filters.chunks(FILTERS_AT_ONCE).map(<[SubscribeFilter]>::to_vec);
        let mut requests: Vec<_> =
            packets.map(Subscribe::new_many).map(Request::Subscribe).collect();
        let mut say = |topic: &str, payload: String, retain: bool| {
            let mut message = Publish::new(topic, QoS::AtMostOnce, payload);
            message.retain = retain;
            requests.push(Request::Publish(message));
        };
        say(&self.status, "online".to_owned(), true);
        if self.greets {
            let greeting = Greeting { address: own_address(), control: self.control_prefix };
            say(Greeting::TOPIC, greeting.to_string(), false);
        }
        say(&self.state, self.state_text(), true);
        if let Some((topic, payload)) = &self.discovery {
            say(topic, payload.clone(), true);
        }
        requests
    }

    /// Publishes a message, unless the connection is lost.
    async fn say(&self, message: Outgoing) -> Result<(), NotConnected> {
        let mut connected = self.connected.clone();
        let Outgoing { topic, payload, retain } = message;
        tokio::select! {
            biased;
            _ = connected.wait_for(|connected| !connected) => Err(NotConnected),
            sent = self.client.publish(topic, QoS::AtMostOnce, retain, payload) => {
                sent.map_err(|_| NotConnected)
            }
        }
    }
}

struct NotConnected;

/// An address of this machine in its network.
fn own_address() -> Ipv4Addr {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let address = all.iter().filter(|a| !a.is_loopback()).find_map(|a| match a.ip() {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    });
    address.unwrap_or(Ipv4Addr::LOCALHOST)
}

// Pictures.
impl Camera {
    /// Reads the ring while somebody is there to publish to and publishing is on. Otherwise there
    /// is no demand from here.
    async fn publish(self: Arc<Self>) {
        let mut wanted = self.wanted.subscribe();
        let mut connected = self.connected.clone();
        let mut told = Told::default();
        let mut last = Sent { number: 0, shots: 0 };
        loop {
            let is_wanted = |wanted: &Wanted| wanted.publishing || wanted.shots != last.shots;
            let waited = async {
                connected.wait_for(|connected| *connected).await?;
                wanted.wait_for(is_wanted).await.map(drop)
            };
            if waited.await.is_err() {
                return;
            }
            if !*connected.borrow() {
                continue;
            }
            match self.publish_while_wanted(&mut last, &mut told).await {
                Ok(()) => {}
                Err(Stop::TooManyReaders) => {
                    told.warn("no place for a reader of the pictures".to_owned());
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(Stop::Ended) => return,
            }
        }
    }

    async fn publish_while_wanted(&self, last: &mut Sent, told: &mut Told) -> Result<(), Stop> {
        let Host { ring, clock, .. } = self.host;
        let mut reader = ring.subscribe(Follow::Live).map_err(|_| Stop::TooManyReaders)?;
        let mut changes = self.wanted.subscribe();
        let mut connected = self.connected.clone();
        let mut pacer = Pace::new(None);
        loop {
            let wanted = *changes.borrow_and_update();
            let is_shot = wanted.shots != last.shots;
            if !*connected.borrow_and_update() || !(wanted.publishing || is_shot) {
                return Ok(());
            }
            pacer.set(wanted.rate);
            let next = async {
                if !is_shot {
                    pacer.wait(clock).await;
                }
                reader.latest().await
            };
            let lease = tokio::select! {
                _ = connected.changed() => continue,
                _ = changes.changed() => continue,
                lease = next => lease.ok_or(Stop::Ended)?,
            };
            pacer.taken(clock);
            // Receivers take a gap for pictures that are lost. Those that the rate leaves out are
            // not.
            let missed = if wanted.rate.is_some() { 0 } else { lease.missed() };
            last.number += 1 + if last.number == 0 { 0 } else { missed };
            last.shots = wanted.shots;
            for message in self.messages(lease, last.number, told) {
                self.sent.store(true, Ordering::Relaxed);
                if self.say(message).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// The messages of a picture. They are made at once, by a copy, so that its slot is free while
    /// the broker takes its time.
    fn messages(&self, lease: FrameLease<'_, '_>, sequence: u64, told: &mut Told) -> Vec<Outgoing> {
        let unix = self.host.clock.unix_offset().unwrap_or_default();
        let timestamp_us = Some(lease.info().captured_at.as_micros() + unix);
        let stamp = Stamp { sequence, timestamp_us, checksum: None };
        let mut messages = Vec::new();
        for chunker in &self.chunkers {
            match chunker.split(&lease, stamp) {
                Ok(parts) => messages.extend(parts.map(|part| Outgoing {
                    topic: part.topic().to_string(),
                    payload: [part.head(), part.body()].concat(),
                    retain: part.retain().flag(),
                })),
                Err(error) => told.warn(format!("a picture is not published: {error}")),
            }
        }
        messages
    }
}

/// What was published.
struct Sent {
    number: u64,
    shots: u32,
}

enum Stop {
    TooManyReaders,
    /// There are no more pictures.
    Ended,
}

/// The rate at which pictures are taken, which may change.
struct Pace(Option<(FrameRate, Pacer)>);

impl Pace {
    fn new(rate: Option<FrameRate>) -> Self {
        Self(rate.map(|rate| (rate, Pacer::new(rate))))
    }

    fn set(&mut self, rate: Option<FrameRate>) {
        if self.0.as_ref().map(|(rate, _)| *rate) != rate {
            *self = Self::new(rate);
        }
    }

    /// Cancel-safe.
    async fn wait(&self, clock: HostClock) {
        if let Some(due) = self.0.as_ref().and_then(|(_, pacer)| pacer.due()) {
            clock.sleep_until(due).await;
        }
    }

    fn taken(&mut self, clock: HostClock) {
        if let Some((_, pacer)) = &mut self.0 {
            pacer.admit(clock.now());
        }
    }
}

// Commands.
impl Camera {
    /// What takes long is left to the others: nothing else is received meanwhile.
    fn receive(&self, message: &Publish) {
        if self.home_assistant.as_ref() == Some(&message.topic) {
            if let Some((topic, payload)) = &self.discovery
                && &message.payload[..] == b"online"
            {
                let (topic, payload) = (topic.clone(), payload.clone().into_bytes());
                self.say_later(Outgoing { topic, payload, retain: true });
            }
            return;
        }
        let delivery = Delivery::from_retain_flag(message.retain);
        match self.control.parse(&message.topic, &message.payload, delivery) {
            Ok(None) => {} // It is for another device.
            _ if message.payload.len() > LARGEST_COMMAND => {
                self.refuse(&message.topic, "the value is too long");
            }
            Ok(Some(command)) => self.carry_out(command, &message.topic),
            Err(error) => self.refuse(&message.topic, &error.to_string()),
        }
    }

    fn carry_out(&self, command: Command, topic: &str) {
        match command {
            Command::Set(setting) => self.set_later(setting, topic),
            Command::Led(led) => self.set_later(Setting::Lamp(lamp(led)), topic),
            Command::Rate(rate) => self.wanted.send_modify(|wanted| wanted.rate = Some(rate)),
            Command::Shot => {
                self.wanted.send_modify(|wanted| wanted.shots = wanted.shots.wrapping_add(1));
            }
            Command::StartStream => self.wanted.send_modify(|wanted| wanted.publishing = true),
            Command::StopStream => self.wanted.send_modify(|wanted| wanted.publishing = false),
            Command::Motor(..) | Command::Heartbeat => {
                self.refuse(topic, "this camera has no motors");
            }
            _ => self.refuse(topic, "this camera has nothing like that"),
        }
    }

    /// There is one place for each name, so there is always room.
    fn set_later(&self, setting: Setting, topic: &str) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.retain(|(_, other)| other.name() != setting.name());
        settings.push((topic.to_owned(), setting));
        self.settings_wait.notify_one();
    }

    /// Has the source set to what waits, one after another.
    async fn obey(self: Arc<Self>) {
        loop {
            let next = {
                let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
                (!settings.is_empty()).then(|| settings.remove(0))
            };
            match next {
                Some((topic, setting)) => {
                    if let Err(reason) = self.set(setting).await {
                        self.refuse(&topic, &reason);
                    }
                }
                None => self.settings_wait.notified().await,
            }
        }
    }

    /// `reason` is for people.
    fn refuse(&self, topic: &str, reason: &str) {
        let topic = &topic[..topic.floor_char_boundary(LARGEST_TOPIC)];
        log::debug!("refused: {topic}: {reason}");
        let payload = format!("{topic}: {reason}").into_bytes();
        self.say_later(Outgoing { topic: self.refused.clone(), payload, retain: false });
    }

    fn say_later(&self, message: Outgoing) {
        if self.answer.try_send(message).is_err() {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn answer(self: Arc<Self>, mut answers: mpsc::Receiver<Outgoing>) {
        let mut told = Told::default();
        while let Some(message) = answers.recv().await {
            let _ = self.say(message).await;
            if answers.is_empty() {
                let more = self.unanswered.swap(0, Ordering::Relaxed);
                if more > 0 {
                    told.warn("too many wrong commands at once".to_owned());
                    let payload = format!("too many at once: {more} more").into_bytes();
                    let topic = self.refused.clone();
                    let _ = self.say(Outgoing { topic, payload, retain: false }).await;
                }
            }
        }
    }

    /// By the same mailbox as the page.
    async fn set(&self, setting: Setting) -> Result<(), String> {
        match tokio::time::timeout(OBEY_TIMEOUT, self.host.settings.set(setting)).await {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(_elapsed) => Err("the source is busy".to_owned()),
        }
    }
}

/// The brightness on the scale of the setting: as the existing camera has it for the eye, and not
/// dark unless it is off.
fn lamp(led: Led) -> Ranged<0, 255> {
    let level = (u32::from(led.duty()) * 255).div_ceil(8192);
    Ranged::new(level as i16).unwrap_or(Ranged::MAX)
}

// The state.
impl Camera {
    /// Tells it whenever it has changed, whoever has changed it.
    async fn tell_state(self: Arc<Self>) {
        let mut wanted = self.wanted.subscribe();
        let mut connected = self.connected.clone();
        let mut told = String::new();
        loop {
            if connected.wait_for(|connected| *connected).await.is_err() {
                return;
            }
            let text = self.state_text();
            if text != told {
                let topic = self.state.clone();
                let payload = text.clone().into_bytes();
                if self.say(Outgoing { topic, payload, retain: true }).await.is_ok() {
                    told = text;
                }
            }
            // The page sets the source without telling anybody.
            let _ = tokio::time::timeout(LOOK, wanted.changed()).await;
        }
    }

    /// JSON: what is wanted here, and the settings as `/status` has them.
    fn state_text(&self) -> String {
        let Wanted { publishing, rate, .. } = *self.wanted.borrow();
        let mut json = format!("{{\"publishing\":{publishing}");
        if let Some(rate) = rate {
            json += &format!(",\"fps\":{rate}");
        }
        let present = |name: &SettingName| self.host.settings.get(*name);
        for setting in SettingName::ALL.iter().filter_map(present) {
            if let Setting::Resolution(size) = setting {
                json += &format!(",\"resolution\":\"{}x{}\"", size.width(), size.height());
            }
            json += &format!(",\"{}\":{}", setting.name().as_str(), setting.number());
        }
        json + "}"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brightness() {
        let level = |millipercent| lamp(Led::from_millipercent(millipercent).unwrap()).get();
        assert_eq!([0, 499, 500, 50_000, 100_000].map(level), [0, 0, 1, 32, 255]);
        assert_eq!(lamp(Led::BEYOND).get(), 255);
    }
}
