//! A camera that publishes its pictures at an MQTT broker, as a source.

use std::str::FromStr;
use std::time::Duration;

use camwire::frame::{CaptureError, Clock, Flow, FrameInfo};
use camwire::mqtt::{
    Command, ControlTopics, Counts, Delivery, Dialect, Event as Outcome, Greeting, Picture, Prefix,
    Reassembler, Refused,
};
use clap::Args;
use tokio::time::{Instant, timeout_at};

use crate::clock::HostClock;
use crate::mqtt::{
    Broker, BrokerArg, BrokerError, ClientOptions, Connection, Connector, Layout, MqttTlsArgs,
    MqttUrl, Packet, SILENCE,
};
use crate::throttle::LogThrottle;

/// How long a camera may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to listen for pictures before the camera is told to start, unless it says itself
/// whether it publishes. A camera that is on sends several in a second; whoever waits for one that
/// is off waits so much longer.
const LISTEN: Duration = Duration::from_secs(1);

/// How long a camera may be silent before it is told once more to start: it may have started anew,
/// or another receiver has stopped it.
const NUDGE: Duration = Duration::from_secs(2);

/// How long there is to stop it.
const FAREWELL: Duration = Duration::from_millis(500);

/// Bytes of a message besides the picture in it.
const BESIDES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MqttError {
    #[error("{0}")]
    Broker(#[from] BrokerError),
    #[error("no picture from {0} within {1:?}")]
    Silent(String, Duration),
}

/// What is said of a camera at a broker on the command line, besides its URL.
#[derive(Debug, Args)]
#[command(next_help_heading = "MQTT")]
pub(crate) struct MqttSourceArgs {
    /// Do not tell a camera at an MQTT broker to start when somebody watches, nor to stop after
    #[arg(long)]
    pub(crate) no_control: bool,

    /// What the topics begin with by which a camera at an MQTT broker is told to start and stop;
    /// found out unless said
    #[arg(long, value_name = "TOPIC", value_parser = crate::mqtt::prefix)]
    pub(crate) source_control_prefix: Option<String>,

    #[command(flatten)]
    pub(crate) tls: MqttTlsArgs,
}

/// A camera at a broker: `mqtt://[USER:PASSWORD@]HOST[:PORT]/PREFIX[?layout=L][&control=TOPIC]`.
#[derive(Clone, Debug)]
pub(crate) struct MqttCamera {
    broker: Broker,
    prefix: String,
    /// `None` until a picture tells.
    layout: Option<Layout>,
    control: ControlArg,
}

#[derive(Clone, Debug)]
enum ControlArg {
    Off,
    /// It follows from the prefix, or the camera says it.
    Find,
    Known(String),
}

impl FromStr for MqttCamera {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let MqttUrl { broker, path, query } = text.parse()?;
        if path.is_empty() {
            return Err("what the topics begin with is missing: mqtt://HOST/PREFIX".to_owned());
        }
        let prefix = crate::mqtt::prefix(&path)?;
        let mut camera = Self { broker, prefix, layout: None, control: ControlArg::Find };
        for (name, value) in query {
            match (name.as_str(), value.as_str()) {
                ("layout", "framed") => camera.layout = Some(Layout::Framed),
                ("layout", "indexed") => camera.layout = Some(Layout::Indexed),
                ("layout", "whole") => camera.layout = Some(Layout::Whole),
                ("layout", _) => return Err("a layout is framed, indexed or whole".to_owned()),
                ("control", "off") => camera.control = ControlArg::Off,
                ("control", prefix) => {
                    camera.control = ControlArg::Known(crate::mqtt::prefix(prefix)?);
                }
                _ => return Err("after the ? of the URL there are layout and control".to_owned()),
            }
        }
        Ok(camera)
    }
}

/// For messages.
impl std::fmt::Display for MqttCamera {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.broker, self.prefix)
    }
}

impl MqttCamera {
    /// With what else the command line says.
    pub(crate) fn with(mut self, args: &MqttSourceArgs) -> Self {
        if let Some(prefix) = &args.source_control_prefix {
            self.control = ControlArg::Known(prefix.clone());
        }
        if args.no_control {
            self.control = ControlArg::Off;
        }
        args.tls.apply(&mut self.broker);
        self
    }

    /// Whether these are the topics at which this program itself publishes.
    pub(crate) fn is_at(&self, broker: &BrokerArg, prefix: &str) -> bool {
        let same_broker = match broker {
            BrokerArg::Off => false,
            BrokerArg::At(other) => self.broker.is_at(&other.host, other.port),
        };
        same_broker && self.prefix == prefix
    }

    /// Where the camera may take commands. To say something to a topic that nobody listens to
    /// does no harm.
    fn controls(&self) -> Vec<String> {
        match &self.control {
            ControlArg::Off => Vec::new(),
            ControlArg::Known(prefix) => vec![prefix.clone()],
            ControlArg::Find => {
                let theirs = self.prefix.strip_prefix("esp32cam/");
                let theirs = theirs.map(|rest| format!("esp32auto/{rest}"));
                theirs.into_iter().chain([self.prefix.clone()]).collect()
            }
        }
    }

    /// Whether a greeting is this camera's. Topics of commands and of pictures may differ in their
    /// first level, but only of cameras that are like the existing one: what greets may be any.
    fn is_greeted_by(&self, control: Prefix<'_>) -> bool {
        let behind = |prefix: &str| prefix.split_once('/').map(|(_, rest)| rest.to_owned());
        let is_theirs = || {
            let theirs = self.prefix.strip_prefix(Greeting::TOPIC)?.strip_prefix('/')?;
            Some(behind(control.as_str())? == theirs)
        };
        let is_own = self.prefix == control.as_str() || is_theirs() == Some(true);
        matches!(self.control, ControlArg::Find) && is_own
    }
}

/// What a source that puts pictures together has to tell of those that did not come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceCounts {
    /// Pictures of which it is certain that they are lost on their way.
    pub(crate) lost: u64,
    /// Messages that cannot be what they claim to be.
    pub(crate) refused: u64,
}

impl SourceCounts {
    fn add(&mut self, counts: Counts) {
        self.lost += u64::from(counts.lost);
        let Counts { malformed, inconsistent, too_large, .. } = counts;
        self.refused += [malformed, inconsistent, too_large].map(u64::from).iter().sum::<u64>();
    }
}

/// Connects when pictures are wanted, tells a camera that is silent to start, and stops what it has
/// started when nobody wants any more. When the connection is lost, the capture loop waits between
/// attempts.
pub(crate) struct MqttSource {
    camera: MqttCamera,
    /// As long as the program.
    prefix: Prefix<'static>,
    clock: HostClock,
    connector: Connector,
    link: Option<Link>,
    /// Of former connections.
    counts: SourceCounts,
    /// Where the camera takes commands.
    controls: Vec<String>,
    started_by: StartedBy,
    /// That frames come has been logged.
    announced: bool,
    throttle: LogThrottle,
}

/// Who has started the camera. Only what was silent before is for this program to stop: others may
/// be watching the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartedBy {
    Others,
    /// It was silent and was requested to start; nothing has come since.
    Pending,
    Us,
}

type Buffers = Reassembler<'static, Vec<u8>>;

/// One connection, with what comes over it.
struct Link {
    connection: Connection,
    /// Those that may still turn out to be the camera's.
    layouts: Vec<(Layout, Buffers)>,
    /// When the camera is to be told to start, unless it is heard before.
    nudge: Instant,
    /// Whether the camera publishes, if it says that.
    says: Option<bool>,
    /// The camera has sent its last frame again, or an older one.
    repeated: bool,
}

impl MqttSource {
    pub(crate) fn new(camera: MqttCamera, clock: HostClock) -> Self {
        let prefix: &'static str = camera.prefix.clone().leak();
        let prefix = Prefix::new(prefix).expect("checked when it was parsed");
        // There is no last will: the broker would stop the camera for everybody else, too.
        let largest = super::LARGEST_PICTURE + BESIDES;
        let options = ClientOptions { broker: camera.broker.clone(), will: None, largest };
        Self {
            controls: camera.controls(),
            camera,
            prefix,
            clock,
            connector: Connector::new(options),
            link: None,
            counts: SourceCounts::default(),
            started_by: StartedBy::Others,
            announced: false,
            throttle: LogThrottle::new(SILENCE),
        }
    }

    /// Up to now.
    pub(crate) fn counts(&self) -> SourceCounts {
        let mut counts = self.counts;
        for (_, layout) in self.link.iter().flat_map(|link| &link.layouts) {
            counts.add(layout.counts());
        }
        counts
    }

    pub(crate) async fn capture(
        &mut self,
        buf: &mut [u8],
    ) -> Result<FrameInfo, CaptureError<MqttError>> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(Picture { buffer, info }) = self.picture() {
                let fits =
                    buf.get_mut(..info.len).map(|room| room.copy_from_slice(&buffer[..info.len]));
                self.give_back(buffer);
                return fits.map(|()| info).ok_or(CaptureError::TooLarge { needed: info.len });
            }
            if self.link.is_none() {
                // No longer than the camera may be silent.
                match timeout_at(until, self.connector.connect()).await {
                    Ok(connection) => {
                        let connection = connection.map_err(MqttError::from)?;
                        self.link = Some(Link::open(connection, self.camera.layout, self.prefix));
                        self.with_link(Self::welcome);
                    }
                    Err(_elapsed) => return Err(self.silent().into()),
                }
            }
            let now = self.clock.now();
            let Some(link) = &mut self.link else { continue };
            let mut wake = until.min(link.nudge);
            let deadlines = link.layouts.iter().filter_map(|(_, layout)| layout.deadline());
            if let Some(deadline) = deadlines.min() {
                wake = wake.min(Instant::now() + deadline.saturating_since(now));
            }
            match timeout_at(wake, link.connection.wait()).await {
                Ok(come) => {
                    let handled = come
                        .map_err(MqttError::from)
                        .and_then(|()| self.with_link(Self::handle_input).unwrap_or(Ok(())));
                    if let Err(error) = handled {
                        self.hang_up();
                        return Err(error.into());
                    }
                    let repeated = self.link.as_mut().map(|link| &mut link.repeated);
                    if repeated.is_some_and(core::mem::take) {
                        return Err(CaptureError::Repeat);
                    }
                }
                Err(_elapsed) if Instant::now() >= until => return Err(self.silent().into()),
                Err(_elapsed) => {
                    if self.link.as_ref().is_some_and(|link| link.nudge <= Instant::now()) {
                        self.with_link(Self::start);
                    }
                }
            }
        }
    }

    fn silent(&self) -> MqttError {
        MqttError::Silent(self.camera.to_string(), PATIENCE)
    }

    /// What the broker has sent waits here, so while there is a connection it must be taken.
    pub(crate) fn flow(&self) -> Flow {
        match &self.link {
            Some(_) => Flow::Stream,
            None => Flow::OnDemand,
        }
    }

    /// Stops the camera, if it was started from here, and disconnects.
    pub(crate) async fn pause(&mut self) {
        if self.started_by != StartedBy::Others {
            let stop = |source: &mut Self, link: &mut Link| {
                source.request(link, Command::StopStream);
                source.started_by = StartedBy::Others;
            };
            self.with_link(stop);
        }
        self.counts = self.counts();
        if let Some(link) = self.link.take() {
            let _ = tokio::time::timeout(FAREWELL, link.connection.close()).await;
        }
    }

    fn hang_up(&mut self) {
        self.counts = self.counts();
        self.link = None;
    }

    /// Does something with the connection, if there is one. It is in its place again afterwards.
    fn with_link<R>(&mut self, action: impl FnOnce(&mut Self, &mut Link) -> R) -> Option<R> {
        let mut link = self.link.take()?;
        let result = action(self, &mut link);
        self.link = Some(link);
        Some(result)
    }

    /// Requests the camera to start. It was silent, so it is for us to stop, unless it reports that
    /// it publishes already: then its frames are rare.
    fn start(&mut self, link: &mut Link) {
        if link.says != Some(true) && self.started_by == StartedBy::Others {
            self.started_by = StartedBy::Pending;
        }
        self.request(link, Command::StartStream);
        link.nudge = Instant::now() + NUDGE;
    }

    /// The camera has come. Whether it publishes from the start is not known yet.
    fn welcome(&mut self, link: &mut Link) {
        if self.started_by == StartedBy::Pending {
            self.started_by = StartedBy::Others; // It was not there to start.
        }
        link.says = None;
        link.nudge = Instant::now() + LISTEN;
        if self.started_by == StartedBy::Us {
            self.start(link);
        }
    }

    /// Sends a command to the camera, if that is allowed.
    fn request(&self, link: &mut Link, command: Command) {
        for prefix in &self.controls {
            if let Some((topic, payload)) = words(prefix, command) {
                link.connection.publish(&topic, &payload);
            }
        }
    }

    /// Handles all packets that have come.
    fn handle_input(&mut self, link: &mut Link) -> Result<(), MqttError> {
        while let Some(packet) = link.connection.next()? {
            let news = match packet {
                Packet::Publish { topic, payload, retain } => {
                    self.read(&mut link.layouts, topic, payload, retain)
                }
                Packet::SubAck { id, codes } => {
                    let codes = codes.to_vec();
                    let confirmed = link.connection.confirmed(id, &codes);
                    self.confirmed(confirmed.unwrap_or_default().0, codes.len())?;
                    News::None
                }
                Packet::Skipped { topic, bytes } => {
                    let text = format!("skipped a message of {bytes} bytes on {topic}");
                    self.throttle.warn(&text);
                    News::None
                }
                _ => News::None,
            };
            match news {
                News::None => {}
                News::Frames => {
                    link.nudge = Instant::now() + NUDGE;
                    if self.started_by == StartedBy::Pending {
                        self.started_by = StartedBy::Us;
                    }
                }
                News::Repeated => {
                    link.nudge = Instant::now() + NUDGE;
                    link.repeated = true;
                }
                News::Online(control) => {
                    self.controls = control.map_or(self.controls.clone(), |control| vec![control]);
                    self.welcome(link);
                }
                News::State(says) if says != link.says => {
                    link.says = says;
                    match says {
                        Some(true) => link.nudge = Instant::now() + NUDGE,
                        Some(false) => self.start(link),
                        None => {}
                    }
                }
                News::State(_) => {}
            }
        }
        Ok(())
    }

    /// What a message says. A part of a frame goes to the layouts.
    fn read(
        &self,
        layouts: &mut [(Layout, Buffers)],
        topic: &str,
        payload: &[u8],
        retain: bool,
    ) -> News {
        if topic == Greeting::TOPIC {
            return match Greeting::parse(payload) {
                Ok(greeting) if self.camera.is_greeted_by(greeting.control) => {
                    News::Online(Some(greeting.control.as_str().to_owned()))
                }
                _ => News::None,
            };
        }
        if topic == self.prefix.status().to_string() {
            let is_news = !retain && payload == b"online";
            return if is_news { News::Online(None) } else { News::None };
        }
        if topic == self.prefix.state().to_string() {
            return News::State(publishing(payload));
        }
        let mut news = News::None;
        let (delivery, now) = (Delivery::from_retain_flag(retain), self.clock.now());
        for (_, layout) in layouts {
            match layout.push(topic, payload, delivery, now) {
                Ok(()) if !retain => news = News::Frames,
                Err(Refused::Late) => news = News::Repeated,
                Ok(()) | Err(Refused::OtherTopic | Refused::Retained) => {}
                Err(refused) => log::debug!("{topic}: {refused}"),
            }
        }
        news
    }

    /// The broker has confirmed so many filters, but for those that it refuses.
    fn confirmed(&mut self, refused: Vec<String>, all: usize) -> Result<(), MqttError> {
        let broker = &self.camera.broker;
        if refused.len() == all {
            return Err(BrokerError::NotAllowed(broker.to_string()).into());
        }
        if !refused.is_empty() {
            let topics = refused.join(", ");
            let text = format!("the broker {broker} does not allow to subscribe to {topics}");
            self.throttle.warn(&text);
        }
        Ok(())
    }

    /// The next picture that is whole. The first one tells the layout.
    fn picture(&mut self) -> Option<Picture<Vec<u8>>> {
        let now = self.clock.now();
        let link = self.link.as_mut()?;
        let mut whole = None;
        for (name, layout) in &mut link.layouts {
            while let Some(outcome) = layout.poll(now) {
                if let Outcome::Picture(picture) = outcome {
                    whole = Some((*name, picture));
                    break;
                }
            }
            if whole.is_some() {
                break;
            }
        }
        let (layout, picture) = whole?;
        for (_, other) in link.layouts.extract_if(.., |(name, _)| *name != layout) {
            self.counts.add(other.counts());
            for filter in other.filters() {
                link.connection.unsubscribe(&[filter.to_string()]);
            }
        }
        if !self.announced {
            log::info!("pictures from {} ({layout:?} layout)", self.camera);
            self.announced = true;
        }
        Some(picture)
    }

    fn give_back(&mut self, buffer: Vec<u8>) {
        if let Some((_, layout)) = self.link.as_mut().and_then(|link| link.layouts.first_mut()) {
            let _ = layout.supply(buffer);
        }
    }
}

impl Link {
    /// Subscribes to the topics of the camera: of one layout, or of all until a frame tells which.
    fn open(mut connection: Connection, layout: Option<Layout>, prefix: Prefix<'static>) -> Self {
        let layouts = match layout {
            Some(layout) => vec![layout],
            None => vec![Layout::Framed, Layout::Indexed, Layout::Whole],
        };
        let buffers = |layout: Layout| {
            // With the usual patience: bridges between brokers, and senders with several
            // connections, may mix the parts of pictures.
            let mut buffers: Buffers = match layout {
                Layout::Framed => Reassembler::framed(prefix),
                Layout::Indexed => Reassembler::indexed(prefix),
                Layout::Whole => Reassembler::whole(prefix),
            };
            while buffers.wants_buffer() {
                // Zeros that nobody has touched take no memory.
                let _ = buffers.supply(vec![0; super::LARGEST_PICTURE]);
            }
            (layout, buffers)
        };
        let layouts: Vec<_> = layouts.into_iter().map(buffers).collect();
        let filters = layouts.iter().flat_map(|(_, layout)| layout.filters());
        let filters = filters.map(|filter| filter.to_string());
        let others = [prefix.status().to_string(), prefix.state().to_string()];
        let filters = filters.chain(others).chain([Greeting::TOPIC.to_owned()]);
        connection.subscribe(&filters.collect::<Vec<_>>());
        let nudge = Instant::now() + NUDGE;
        Self { connection, layouts, nudge, says: None, repeated: false }
    }
}

/// What a message says of the camera.
enum News {
    None,
    /// Frames come.
    Frames,
    /// Its last frame comes again, or an older one.
    Repeated,
    /// It is there, and may have said where it takes commands.
    Online(Option<String>),
    /// Whether it publishes, if it reports that.
    State(Option<bool>),
}

/// Whether a camera's state says that it publishes.
fn publishing(state: &[u8]) -> Option<bool> {
    let text: String = std::str::from_utf8(state).ok()?.split_ascii_whitespace().collect();
    let (_, value) = text.split_once("\"publishing\":")?;
    let is = |word: &str| value.strip_prefix(word).is_some_and(|rest| rest.starts_with([',', '}']));
    is("true").then_some(true).or(is("false").then_some(false))
}

/// Topic and payload of a command.
fn words(prefix: &str, command: Command) -> Option<(String, Vec<u8>)> {
    let topics = ControlTopics::new(Prefix::new(prefix).ok()?, Dialect::Camwire);
    let message = topics.message(command)?;
    Some((message.topic().to_string(), message.payload().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(text: &str) -> Result<MqttCamera, String> {
        text.parse()
    }

    #[test]
    fn cameras() {
        let plain = camera("mqtt://broker/garden/cam").unwrap();
        assert_eq!((plain.prefix.as_str(), plain.layout), ("garden/cam", None));
        assert_eq!(plain.controls(), ["garden/cam"]);
        assert_eq!(plain.to_string(), "broker:1883/garden/cam");
        let given = camera("mqtt://a:b@broker:99/cam?layout=indexed&control=robot/1").unwrap();
        assert_eq!(
            (given.layout, given.controls()),
            (Some(Layout::Indexed), vec!["robot/1".into()])
        );
        assert_eq!(given.to_string(), "broker:99/cam");
        for text in [
            "mqtt://broker",
            "mqtt://broker/",
            "mqtt://broker/cam/",
            "mqtt://broker/cam/%23",
            "mqtt://broker/cam?layout=other",
            "mqtt://broker/cam?control=a%2B",
            "mqtt://broker/cam?fps=1",
        ] {
            assert!(camera(text).is_err(), "{text}");
        }
    }

    #[test]
    fn states() {
        assert_eq!(publishing(br#"{"publishing":true,"fps":2}"#), Some(true));
        assert_eq!(publishing(b"{ \"fps\": 2,\n \"publishing\" : false }"), Some(false));
        for other in [&b""[..], b"{}", b"{\"publishing\":", b"{\"publishing\":truest}", b"\xff"] {
            assert_eq!(publishing(other), None);
        }
    }

    #[test]
    fn where_commands_go() {
        let theirs = camera("mqtt://broker/esp32cam/50").unwrap();
        assert_eq!(theirs.controls(), ["esp32auto/50", "esp32cam/50"]);
        let greets = |control: &str| theirs.is_greeted_by(Prefix::new(control).unwrap());
        assert!(greets("esp32auto/50") && greets("robot/50"));
        assert!(!greets("esp32auto/51") && !greets("esp32auto"));
        // Of two cameras in different places, neither is taken for the other.
        let ours = camera("mqtt://broker/garden/cam").unwrap();
        let greets = |control: &str| ours.is_greeted_by(Prefix::new(control).unwrap());
        assert!(greets("garden/cam"));
        assert!(!greets("house/cam") && !greets("cam") && !greets("esp32auto/cam"));

        let args = |no_control, prefix: Option<&str>| MqttSourceArgs {
            no_control,
            source_control_prefix: prefix.map(str::to_owned),
            tls: MqttTlsArgs::default(),
        };
        assert_eq!(theirs.clone().with(&args(false, Some("a"))).controls(), ["a"]);
        assert!(theirs.clone().with(&args(true, Some("a"))).controls().is_empty());
        assert!(camera("mqtt://broker/cam?control=off").unwrap().controls().is_empty());
        let known = camera("mqtt://broker/esp32cam/50?control=a").unwrap();
        assert!(!known.is_greeted_by(Prefix::new("robot/50").unwrap()));
    }
}
