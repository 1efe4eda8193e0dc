//! The camera at a broker: the transport of its session.

use std::net::SocketAddr;
use std::time::{Duration, Instant as StdInstant};

use camwire::capture::{
    Follow, FrameReader, FrameRing, SetError, Settings, SourceState, SourceStatus,
};
use camwire::frame::{Clock, Instant, Setting};
use camwire::mqtt::{
    CameraSession, Captured, Delivery, Device, Dialect, Discovery, Outcome, Prefix, Publishing,
    RefusalReason, Retain, SessionConfig, SplitError, Stats, Topic,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::address::Broker;
use super::client::{BrokerError, ClientOptions, Connection, Connector, own_address};
use super::packet::Packet;
use super::{DiscoveryArg, Layout, MqttArgs, MqttError, SILENCE};
use crate::clock::HostClock;
use crate::throttle::LogThrottle;

/// Bytes of the largest message that is received. Commands are short.
const LARGEST_MESSAGE: usize = 64 << 10;

/// Bytes for a message of the session: enough for the longest names.
const BUFFER: usize = 8192;

/// How often to look how the source is.
const LOOK: Duration = Duration::from_secs(1);

/// How long the source may take to apply a setting.
const SETTING_TIMEOUT: Duration = Duration::from_secs(10);

/// A source that is to give frames and has given none for so long is reported as offline.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for a place in the ring.
const RING_RETRY: Duration = Duration::from_secs(1);

/// How long there is to report that the camera ends.
const FAREWELL: Duration = Duration::from_millis(300);

/// A connection that has lasted so long is a good one, and worth a line in the log when it is back.
const GOOD: Duration = Duration::from_secs(5);

/// What of the program the output needs.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    pub(crate) ring: &'static FrameRing<'static>,
    pub(crate) settings: &'static Settings,
    pub(crate) status: &'static SourceStatus,
    pub(crate) clock: HostClock,
    /// The port of the page, if others than this machine can open it.
    pub(crate) web_port: Option<u16>,
}

/// Publishes while it lives.
pub(crate) struct MqttOutput {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl MqttOutput {
    /// Connects to the broker, now or when it comes, and again when the connection is lost.
    pub(crate) fn open(args: &MqttArgs, broker: Broker, host: Host) -> Result<Self, MqttError> {
        let config = config(args, host.web_port);
        let packet = |error| MqttError::Packet(config.largest_packet, error);
        let session = CameraSession::new(config).map_err(packet)?;
        let (topic, offline) = session.offline();
        let will = Some((topic.to_string(), offline));
        let options = ClientOptions { broker: broker.clone(), will, largest: LARGEST_MESSAGE };
        let camera = Camera {
            host,
            session,
            broker,
            reader: None,
            applying: None,
            frame: Vec::new(),
            seen: 0,
            throttle: LogThrottle::new(SILENCE),
        };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(camera.run(Connector::new(options), stopped));
        Ok(Self { stop, task })
    }

    /// Reports that the camera is gone, if there is a connection.
    pub(crate) async fn close(self) {
        let _ = self.stop.send(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(FAREWELL, self.task).await.is_err() {
            abort.abort();
        }
    }
}

/// What the session is told of the arguments. Its texts live as long as the program does.
fn config(args: &MqttArgs, web_port: Option<u16>) -> SessionConfig<'static> {
    let prefix = |text: &str| -> Prefix<'static> {
        Prefix::new(text.to_owned().leak()).expect("checked when it was parsed")
    };
    let frames = prefix(&args.mqtt_prefix);
    let mut config = SessionConfig::new(frames);
    config.control = args.mqtt_control_prefix.as_ref().map_or(frames, |text| prefix(text));
    let has = |layout| args.mqtt_layout.contains(&layout);
    let retain = if args.mqtt_retain { Retain::Yes } else { Retain::No };
    config.framed = has(Layout::Framed).then(super::random);
    config.indexed = has(Layout::Indexed).then_some(retain);
    config.whole = has(Layout::Whole).then_some(retain);
    let is_theirs = config.control.as_str().split('/').next() == Some("esp32auto");
    if config.indexed.is_some() || is_theirs {
        config.dialect = Dialect::Esp32Cam;
    }
    if let Some(packet) = args.mqtt_packet {
        (config.largest_packet, config.framed_packet) = (packet, packet);
    }
    config.publishing = Publishing::from_on(args.mqtt_publish);
    config.rate = args.mqtt_fps;
    config.discovery = match &args.mqtt_discovery {
        DiscoveryArg::Off => Discovery::Off,
        DiscoveryArg::Remove(topic) => Discovery::Remove(prefix(topic)),
        DiscoveryArg::At(topic) => {
            let mut device = Device::new(prefix(topic), frames);
            (device.model, device.web_port) = ("camwire-host", web_port);
            Discovery::Announce(device)
        }
    };
    config
}

struct Camera {
    host: Host,
    session: CameraSession<'static>,
    broker: Broker,
    /// While frames are wanted. Otherwise there is no demand from here.
    reader: Option<FrameReader<'static>>,
    /// The source is at a setting.
    applying: Option<JoinHandle<Result<(), RefusalReason>>>,
    /// The frame that is being sent. It is a copy, so that its slot is free while the broker takes
    /// its time.
    frame: Vec<u8>,
    /// The version of the settings that the session knows.
    seen: u32,
    throttle: LogThrottle,
}

impl Camera {
    async fn run(mut self, mut connector: Connector, mut stop: watch::Receiver<bool>) {
        let mut was_short = false;
        loop {
            let connected = tokio::select! {
                connected = connector.connect() => connected,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let since = StdInstant::now();
            let (error, has_sent) = match connected {
                Err(error) => (error, false),
                Ok(connection) => {
                    let mut progress = Connected { was_short, ..Connected::default() };
                    match self.converse(connection, &mut stop, &mut progress).await {
                        Ok(()) => return,
                        Err(error) => {
                            was_short = since.elapsed() < GOOD;
                            if !was_short {
                                self.throttle.forget();
                            }
                            (error, progress.has_sent)
                        }
                    }
                }
            };
            let is_lost = matches!(error, BrokerError::Lost(_));
            let hint = if was_short && is_lost && has_sent {
                " soon after it was sent a frame: perhaps its packets are larger than the broker \
                 allows (see --mqtt-packet)"
            } else {
                ""
            };
            self.throttle.warn(&format!("{error}{hint}"));
            self.reader = None;
            let again = self.session.disconnected(self.host.clock.now());
            tokio::select! {
                () = self.host.clock.sleep_until(again) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// What is done with a connection, until it is lost, or until the program ends.
    async fn converse(
        &mut self,
        mut connection: Connection,
        stop: &mut watch::Receiver<bool>,
        progress: &mut Connected,
    ) -> Result<(), BrokerError> {
        let clock = self.host.clock;
        if let Some(largest) = connection.largest_packet
            && let Err(error) = self.session.limit_packets(largest)
        {
            self.throttle.warn(&format!("{} takes too small packets: {error}", self.broker));
        }
        self.update();
        self.session.connected(clock.now(), own_address(connection.own));
        let filters: Vec<_> = self.session.filters().map(|filter| filter.to_string()).collect();
        connection.subscribe(&filters);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.flush(&mut connection, progress).await?;
            self.start_setting();
            let due = self.session.frame_due();
            if due.is_none() {
                self.reader = None;
            } else if self.reader.is_none() {
                self.reader = self.host.ring.subscribe(Follow::Live).ok();
                if self.reader.is_none() {
                    self.throttle.warn("no place for a reader of the frames");
                }
            }
            let event = tokio::select! {
                come = connection.wait() => Event::Input(come?),
                result = applied(&mut self.applying) => Event::Applied(result),
                captured = next_frame(clock, &mut self.reader, due, &mut self.frame) => {
                    Event::Frame(captured)
                }
                () = settings_changed(self.host.settings, self.seen) => Event::Look,
                _ = look.tick() => Event::Look,
                _ = stop.wait_for(|stop| *stop) => Event::Stop,
            };
            match event {
                Event::Input(()) => self.handle_input(&mut connection, progress)?,
                Event::Applied(result) => {
                    self.applying = None;
                    self.session.setting_applied(result);
                }
                Event::Frame(Some(captured)) => {
                    self.publish(&mut connection, captured, progress).await?;
                }
                // The source has ended, or there was no place.
                Event::Frame(None) => self.reader = None,
                Event::Look => self.update(),
                Event::Stop => {
                    self.session.close();
                    self.flush(&mut connection, progress).await?;
                    return connection.close().await;
                }
            }
        }
    }

    /// Sends all that the session has to say.
    async fn flush(
        &mut self,
        connection: &mut Connection,
        progress: &mut Connected,
    ) -> Result<(), BrokerError> {
        let mut buf = [0; BUFFER];
        let now = self.host.clock.now();
        while let Some(message) = self.session.poll_transmit(now, &mut buf) {
            let on = &mut |connection: &mut Connection| self.handle_input(connection, progress);
            connection.send(message, on).await?;
        }
        Ok(())
    }

    async fn publish(
        &mut self,
        connection: &mut Connection,
        captured: Captured,
        progress: &mut Connected,
    ) -> Result<(), BrokerError> {
        let frame = std::mem::take(&mut self.frame);
        let messages = self.session.publish(&frame, captured, self.host.clock.now());
        if let Some(error) = messages.rejected()
            && error != SplitError::Empty
        {
            self.throttle.warn(&format!("a frame is not published: {error} (see --mqtt-packet)"));
        }
        for message in messages {
            progress.has_sent = true;
            let mut topic = [0; Topic::MAX_LEN];
            let on = &mut |connection: &mut Connection| self.handle_input(connection, progress);
            connection.send(message.transmit(&mut topic), on).await?;
        }
        self.frame = frame;
        Ok(())
    }

    /// Handles all packets that have come.
    fn handle_input(
        &mut self,
        connection: &mut Connection,
        progress: &mut Connected,
    ) -> Result<(), BrokerError> {
        let now = self.host.clock.now();
        loop {
            let outcome = match connection.next()? {
                None => return Ok(()),
                Some(Packet::Publish { topic, payload, retain }) => {
                    let delivery = Delivery::from_retain_flag(retain);
                    self.session.handle_input(topic, payload, delivery, now)
                }
                Some(Packet::Skipped { topic, bytes }) => {
                    let text = format!("skipped a message of {bytes} bytes on {topic}");
                    self.throttle.warn(&text);
                    self.session.handle_skipped(topic)
                }
                Some(Packet::SubAck { id, codes }) => {
                    let codes = codes.to_vec();
                    if let Some((refused, is_last)) = connection.confirmed(id, &codes) {
                        progress.refused.extend(refused);
                        if is_last {
                            self.subscribed(progress);
                        }
                    }
                    Outcome::Ignored
                }
                Some(_) => Outcome::Ignored,
            };
            match outcome {
                Outcome::Rejected(refusal) => {
                    log::debug!("refused: {}: {}", refusal.topic, refusal.reason);
                }
                Outcome::RejectedUnreported(_) => {
                    self.throttle.warn("too many wrong commands at once");
                }
                Outcome::Ignored | Outcome::Accepted => {}
            }
        }
    }

    /// From now on, commands are received.
    fn subscribed(&mut self, progress: &Connected) {
        if !progress.was_short {
            log::info!(
                "publishing at the broker {}, topics {}/#",
                self.broker,
                self.session.config().prefix.as_str()
            );
        }
        if !progress.refused.is_empty() {
            let topics = match progress.refused.len() {
                all if all == self.session.filters().count() => "commands".to_owned(),
                _ => progress.refused.join(", "),
            };
            let broker = &self.broker;
            self.throttle
                .warn(&format!("the broker {broker} does not allow to subscribe to {topics}"));
        }
    }

    /// What is new of the source.
    fn update(&mut self) {
        let Host { ring, settings, status, clock, .. } = self.host;
        let now = clock.now();
        self.seen = settings.version();
        self.session.update_settings(|name| settings.get(name));
        let is_available =
            status.state() != SourceState::Ended && status.quiet(now) < SOURCE_TIMEOUT;
        self.session.update_source(is_available);
        let mut stats = Stats::default();
        stats.millihertz = status.millihertz(now);
        let others = ring.readers().saturating_sub(usize::from(self.reader.is_some()));
        stats.viewers = Some(u32::try_from(others).unwrap_or(u32::MAX));
        self.session.update_stats(stats);
    }

    /// Has the source apply what waits, one after another.
    fn start_setting(&mut self) {
        if let Some(setting) = self.session.poll_setting() {
            self.applying = Some(tokio::spawn(apply(self.host.settings, setting)));
        }
    }
}

enum Event {
    Input(()),
    Applied(Result<(), RefusalReason>),
    Frame(Option<Captured>),
    Look,
    Stop,
}

/// What has become of a connection.
#[derive(Debug, Default)]
struct Connected {
    /// The one before it did not last.
    was_short: bool,
    /// Part of a frame has been sent.
    has_sent: bool,
    /// Filters that the broker refuses.
    refused: Vec<String>,
}

/// By the same mailbox as the page.
async fn apply(settings: &'static Settings, setting: Setting) -> Result<(), RefusalReason> {
    let set = settings.set(setting);
    match tokio::time::timeout(SETTING_TIMEOUT, set).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(SetError::TooLarge { needed })) => Err(RefusalReason::NoMemory { needed }),
        Ok(Err(SetError::Unsupported)) => {
            Err(RefusalReason::Other("the source cannot be set to that"))
        }
        Ok(Err(SetError::Failed)) => Err(RefusalReason::Other("the source failed")),
        Ok(Err(SetError::Closed)) => Err(RefusalReason::Other("there is no source")),
        Ok(Err(_)) | Err(_) => Err(RefusalReason::Other("the source is busy")),
    }
}

/// Waits until other settings are in force than at that version. Cancel-safe.
async fn settings_changed(settings: &Settings, seen: u32) {
    if settings.changed(seen).await.is_err() {
        // Too many wait already: the next look finds it.
        std::future::pending().await
    }
}

/// Waits for the source. Cancel-safe.
async fn applied(
    applying: &mut Option<JoinHandle<Result<(), RefusalReason>>>,
) -> Result<(), RefusalReason> {
    match applying {
        Some(task) => task.await.unwrap_or(Err(RefusalReason::Other("the program ends"))),
        None => std::future::pending().await,
    }
}

/// Copies the next frame, when it is time for it. `None` if there is none to be had. Cancel-safe.
async fn next_frame(
    clock: HostClock,
    reader: &mut Option<FrameReader<'static>>,
    due: Option<Instant>,
    frame: &mut Vec<u8>,
) -> Option<Captured> {
    match due {
        Some(due) => clock.sleep_until(due).await,
        None => std::future::pending().await,
    }
    let Some(reader) = reader else {
        tokio::time::sleep(RING_RETRY).await;
        return None;
    };
    let Some(lease) = reader.latest().await else {
        // There are no more frames.
        tokio::time::sleep(RING_RETRY).await;
        return None;
    };
    frame.clear();
    frame.extend_from_slice(&lease);
    let (at, missed) = (lease.info().captured_at, lease.missed());
    Some(Captured { at, missed, unix_offset: clock.unix_offset() })
}

/// The port of a page that other machines can open.
pub(crate) fn web_port(listening: impl IntoIterator<Item = SocketAddr>) -> Option<u16> {
    listening.into_iter().find(|at| !at.ip().is_loopback()).map(|at| at.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_that_only_this_machine_can_open_is_not_announced() {
        let port = |addresses: &[&str]| {
            web_port(addresses.iter().map(|text| text.parse::<SocketAddr>().unwrap()))
        };
        assert_eq!(port(&["127.0.0.1:80", "[::1]:81"]), None);
        assert_eq!(port(&["127.0.0.1:80", "0.0.0.0:8080", "192.0.2.1:82"]), Some(8080));
        assert_eq!(port(&[]), None);
    }
}
