//! A connection to a broker: what publishing and receiving have in common.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::address::Broker;
use super::packet::{Connect, DISCONNECT, Decoder, PINGREQ, Packet, PacketError, Version, reason};
use crate::dial::{Incoming, Outgoing, encrypted, plain};

/// How long a connection may take, and then again the answer of the broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Seconds of silence after which the broker is to close the connection.
const KEEP_ALIVE: u16 = 60;

/// After so long without a byte from the broker it is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(10);

/// How long no byte may move in either direction while the broker is to take or send some. However
/// slow the line is, a frame may take as long as it needs.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes that may wait in the socket, which the system makes twice as many of. What waits there is
/// the delay behind a slow broker.
const SEND_BUFFER: usize = 64 << 10;

/// Bytes that are read at once.
const READ: usize = 16 << 10;

/// Filters in one SUBSCRIBE packet: some brokers take no more.
const FILTERS_AT_ONCE: usize = 8;

/// Why there is no connection to a broker, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    #[error("cannot connect to the broker {0}: {1}")]
    Connect(String, io::Error),
    #[error("the broker {0} does not answer")]
    Silent(String),
    #[error("the broker {0} does not accept the user or the password")]
    Login(String),
    #[error("the broker {0} refuses the connection: {1}")]
    Refused(String, String),
    #[error("the broker {0} does not allow to subscribe to the topics")]
    NotAllowed(String),
    #[error("the connection to the broker {0} is lost")]
    Lost(String),
    #[error(
        "the broker {0} closes the connection at once: perhaps it speaks TLS there, see mqtts://"
    )]
    Hangup(String),
    #[error("the broker {0} has closed the connection: {1}")]
    Closed(String, String),
    #[error("the broker {0}: {1}")]
    Protocol(String, PacketError),
}

/// How a client presents itself.
#[derive(Clone, Debug)]
pub(crate) struct ClientOptions {
    pub(crate) broker: Broker,
    /// Topic and payload of the last will.
    pub(crate) will: Option<(String, &'static [u8])>,
    /// Bytes of the largest message that is received; larger ones are skipped.
    pub(crate) largest: usize,
}

/// Makes connections, in the version of MQTT that the broker knows: 5, or 3.1.1.
#[derive(Debug)]
pub(crate) struct Connector {
    options: ClientOptions,
    /// That no other client has.
    client_id: String,
    version: Version,
}

impl Connector {
    pub(crate) fn new(options: ClientOptions) -> Self {
        let client_id = format!("camwire-{}-{:08x}", std::process::id(), super::random());
        Self { options, client_id, version: Version::V5 }
    }

    /// Connects. A broker that does not know MQTT 5 is asked again at once.
    pub(crate) async fn connect(&mut self) -> Result<Connection, BrokerError> {
        loop {
            let result = self.attempt().await;
            let is_unknown = match &result {
                Err(Rejected::Version | Rejected::Closed) => self.version == Version::V5,
                _ => false,
            };
            let name = || self.options.broker.to_string();
            match result {
                Ok(connection) => return Ok(connection),
                // Very old ones close the connection. So do others, for other reasons.
                Err(_) if is_unknown => self.version = Version::V311,
                Err(rejected) => {
                    self.version = Version::V5;
                    return Err(match rejected {
                        Rejected::Version => BrokerError::Refused(name(), reason(1)),
                        Rejected::Closed if self.options.broker.tls.is_none() => {
                            BrokerError::Hangup(name())
                        }
                        Rejected::Closed => BrokerError::Lost(name()),
                        Rejected::Error(error) => error,
                    });
                }
            }
        }
    }

    async fn attempt(&self) -> Result<Connection, Rejected> {
        let Self { options: ClientOptions { broker, will, largest }, client_id, version } = self;
        let name = || broker.to_string();
        let failed = |error| Rejected::Error(BrokerError::Connect(name(), error));
        let silent = |_| Rejected::Error(BrokerError::Silent(name()));
        let connecting = async {
            let stream = TcpStream::connect((broker.plain_host(), broker.port)).await?;
            stream.set_nodelay(true)?;
            SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER)?;
            let own = stream.local_addr()?;
            let halves = match &broker.tls {
                None => plain(stream),
                Some(trust) => encrypted(stream, &broker.host, trust).await.map_err(explained)?,
            };
            Ok((halves, own))
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let ((read, write), own) = connected.map_err(silent)?.map_err(failed)?;
        let connect = Connect {
            version: *version,
            client_id,
            keep_alive: KEEP_ALIVE,
            login: broker.login.as_ref().map(|login| (&*login.user, &*login.password)),
            will: will.as_ref().map(|(topic, payload)| (&**topic, *payload)),
        };
        let now = Instant::now();
        let mut connection = Connection {
            name: name(),
            version: *version,
            own,
            largest_packet: None,
            read,
            write,
            decoder: Decoder::new(*version, *largest),
            outgoing: connect.encode(),
            is_unflushed: false,
            writing_since: None,
            keep_alive: Duration::from_secs(KEEP_ALIVE.into()),
            received: now,
            moved: now,
            pinged: None,
            last_id: 0,
            subscriptions: VecDeque::new(),
        };
        match timeout(CONNECT_TIMEOUT, connection.accepted()).await {
            Ok(accepted) => accepted.map(|()| connection),
            Err(elapsed) => Err(silent(elapsed)),
        }
    }
}

/// Why an attempt to connect failed.
enum Rejected {
    /// The broker does not know this version of MQTT.
    Version,
    /// It has closed the connection instead of answering.
    Closed,
    Error(BrokerError),
}

/// What TLS makes of a server that has none: some answer in their own way, most hang up.
fn explained(error: io::Error) -> io::Error {
    let is_hangup =
        matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
    if is_hangup || error.to_string().contains("corrupt message") {
        io::Error::other(format!("{error}: perhaps it does not speak TLS there, see mqtt://"))
    } else {
        error
    }
}

/// A connection that the broker has accepted.
pub(crate) struct Connection {
    name: String,
    version: Version,
    /// This side's address.
    pub(crate) own: SocketAddr,
    /// Bytes of the largest packet that the broker takes, if it says so.
    pub(crate) largest_packet: Option<u32>,
    read: Incoming,
    write: Outgoing,
    decoder: Decoder,
    /// What is to be written before anything else: whole packets, but for the last one while its
    /// body is being sent.
    outgoing: Vec<u8>,
    /// TLS has taken bytes that the network has not.
    is_unflushed: bool,
    /// Since when there has been something to write.
    writing_since: Option<Instant>,
    keep_alive: Duration,
    /// When a byte came last.
    received: Instant,
    /// When a byte came last, or the network took one that had to wait.
    moved: Instant,
    /// When the broker was asked last whether it is there, if it has not answered.
    pinged: Option<Instant>,
    last_id: u16,
    /// Those that the broker has not confirmed, with their filters.
    subscriptions: VecDeque<(u16, Vec<String>)>,
}

impl Connection {
    /// Asks for what is published on these topics.
    pub(crate) fn subscribe(&mut self, filters: &[String]) {
        for filters in filters.chunks(FILTERS_AT_ONCE) {
            let id = self.next_id();
            self.outgoing.extend(self.version.subscribe(id, filters));
            self.subscriptions.push_back((id, filters.to_vec()));
        }
    }

    /// Ends that.
    pub(crate) fn unsubscribe(&mut self, filters: &[String]) {
        let id = self.next_id();
        self.outgoing.extend(self.version.unsubscribe(id, filters));
    }

    /// Publishes a short message, which is sent with the next [`wait`](Self::wait).
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.outgoing.extend(self.version.publish(topic, payload.len(), false));
        self.outgoing.extend(payload);
    }

    /// What of a subscription the broker has refused: `None` if it is not the next one, else the
    /// filters that are refused, and whether it was the last.
    pub(crate) fn confirmed(&mut self, id: u16, codes: &[u8]) -> Option<(Vec<String>, bool)> {
        let (_, filters) = self.subscriptions.pop_front_if(|(sent, _)| *sent == id)?;
        let refused = filters.into_iter().zip(codes).filter(|(_, code)| **code >= 0x80);
        Some((refused.map(|(filter, _)| filter).collect(), self.subscriptions.is_empty()))
    }

    /// The next packet that has come.
    pub(crate) fn next(&mut self) -> Result<Option<Packet<'_>>, BrokerError> {
        let name = &self.name;
        match self.decoder.next() {
            Ok(Some(Packet::Disconnect { code })) => {
                Err(BrokerError::Closed(name.clone(), reason(code)))
            }
            Ok(packet) => Ok(packet),
            Err(error) => Err(BrokerError::Protocol(name.clone(), error)),
        }
    }

    /// Waits until something has come, and writes what is to be written meanwhile. Cancel-safe.
    pub(crate) async fn wait(&mut self) -> Result<(), BrokerError> {
        while !self.step(&[]).await?.has_come {}
        Ok(())
    }

    /// Publishes a message, and gives `on` what comes meanwhile. Not cancel-safe: a message that is
    /// begun must be finished.
    pub(crate) async fn send(
        &mut self,
        message: camwire::mqtt::Transmit<'_>,
        on: &mut impl FnMut(&mut Self) -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        let camwire::mqtt::Transmit { topic, head, mut body, retain } = message;
        let length = head.len() + body.len();
        self.outgoing.extend(self.version.publish(topic, length, retain.flag()));
        self.outgoing.extend(head);
        while !(self.outgoing.is_empty() && body.is_empty()) {
            let progress = self.step(body).await?;
            body = body.get(progress.written..).unwrap_or_default();
            if progress.has_come {
                on(self)?;
            }
        }
        Ok(())
    }

    /// Ends the connection in good order: the broker drops the last will.
    pub(crate) async fn close(mut self) -> Result<(), BrokerError> {
        self.outgoing.extend(DISCONNECT);
        while !self.outgoing.is_empty() {
            self.step(&[]).await?;
        }
        // Until the broker closes it, too: then it has read all.
        while self.step(&[]).await.is_ok() {}
        Ok(())
    }

    /// Waits for the answer to the connection.
    async fn accepted(&mut self) -> Result<(), Rejected> {
        loop {
            match self.next().map_err(Rejected::Error)? {
                None => {}
                Some(Packet::ConnAck { code: 0, largest_packet, keep_alive }) => {
                    self.largest_packet = largest_packet;
                    let wanted = keep_alive.map(|seconds| Duration::from_secs(seconds.into()));
                    self.keep_alive = wanted.unwrap_or(self.keep_alive);
                    return Ok(());
                }
                Some(Packet::ConnAck { code, .. }) => {
                    let name = self.name.clone();
                    return Err(match code {
                        0x01 | 0x84 => Rejected::Version,
                        4 | 5 | 0x86 | 0x87 => Rejected::Error(BrokerError::Login(name)),
                        code => Rejected::Error(BrokerError::Refused(name, reason(code))),
                    });
                }
                Some(_) => {
                    let error = BrokerError::Protocol(self.name.clone(), PacketError::Invalid);
                    return Err(Rejected::Error(error));
                }
            }
            match self.wait().await {
                Err(BrokerError::Lost(_)) => return Err(Rejected::Closed),
                result => result.map_err(Rejected::Error)?,
            }
        }
    }

    /// Waits until bytes come, or until some of `outgoing`, and behind it of `body`, are taken.
    /// Cancel-safe.
    async fn step(&mut self, body: &[u8]) -> Result<Progress, BrokerError> {
        let is_writing = !self.outgoing.is_empty() || !body.is_empty() || self.is_unflushed;
        let since = self.writing_since.unwrap_or_else(Instant::now);
        self.writing_since = is_writing.then_some(since);
        let timer = self.deadline(body.is_empty());
        let buffer = self.decoder.buffer();
        buffer.reserve(READ);
        let mut has_waited = false;
        let event = tokio::select! {
            biased;
            count = self.read.0.read_buf(buffer) => Event::Read(count),
            written = write(&mut self.write, &self.outgoing, body, &mut has_waited), if is_writing => {
                Event::Written(written)
            }
            () = sleep_until(timer) => Event::Timer,
        };
        let now = Instant::now();
        let mut progress = Progress { has_come: false, written: 0 };
        match event {
            Event::Read(Ok(0) | Err(_)) | Event::Written(Err(_)) => {
                return Err(BrokerError::Lost(self.name.clone()));
            }
            Event::Read(Ok(_)) => {
                (self.received, self.moved, self.pinged) = (now, now, None);
                progress.has_come = true;
            }
            Event::Written(Ok((count, is_flushed))) => {
                if has_waited {
                    self.moved = now;
                }
                let first = count.min(self.outgoing.len());
                self.outgoing.drain(..first);
                (progress.written, self.is_unflushed) = (count - first, !is_flushed);
            }
            Event::Timer if self.is_stalled(now) => {
                return Err(BrokerError::Silent(self.name.clone()));
            }
            Event::Timer if self.pinged.is_none() && body.is_empty() => {
                self.outgoing.extend(PINGREQ);
                self.pinged = Some(now);
            }
            Event::Timer => {}
        }
        Ok(progress)
    }

    /// When to look whether the broker is there. Between two packets it can be asked.
    fn deadline(&self, is_between: bool) -> Instant {
        let ping = self.received + PING_AFTER.min(self.keep_alive / 2);
        let ping = Some(ping).filter(|_| self.pinged.is_none() && is_between);
        let since = [self.pinged, self.writing_since].into_iter().flatten();
        let stalls = since.map(|since| since.max(self.moved) + STALL_TIMEOUT);
        // While a packet is being written and nothing else is to be waited for, that is one.
        stalls.chain(ping).min().unwrap_or_else(|| Instant::now() + STALL_TIMEOUT)
    }

    fn is_stalled(&self, now: Instant) -> bool {
        let since = [self.pinged, self.writing_since].into_iter().flatten();
        let mut since = since.map(|since| now.duration_since(since.max(self.moved)));
        since.any(|silence| silence >= STALL_TIMEOUT)
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

enum Event {
    Read(io::Result<usize>),
    Written(io::Result<(usize, bool)>),
    Timer,
}

/// What a step has done.
struct Progress {
    has_come: bool,
    /// Bytes of the body that are taken.
    written: usize,
}

/// Writes once: both pieces, as far as they are taken. Returns how many bytes that are, and whether
/// the network has them: TLS keeps what it has encrypted. Cancel-safe.
async fn write(
    writer: &mut Outgoing,
    first: &[u8],
    second: &[u8],
    has_waited: &mut bool,
) -> io::Result<(usize, bool)> {
    let is_empty = first.is_empty() && second.is_empty();
    poll_fn(|cx| {
        let mut writer = Pin::new(&mut writer.0);
        let mut count = 0;
        if !is_empty {
            let pieces = [IoSlice::new(first), IoSlice::new(second)];
            count = match writer.as_mut().poll_write_vectored(cx, &pieces) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    *has_waited = true;
                    return Poll::Pending;
                }
            };
        }
        match writer.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if count == 0 => {
                *has_waited = true;
                Poll::Pending
            }
            flushed => Poll::Ready(Ok((count, flushed.is_ready()))),
        }
    })
    .await
}

/// This side's address in its network, as far as IPv4 goes: that of the connection, unless the
/// broker is on this machine.
pub(crate) fn own_address(connection: SocketAddr) -> Option<std::net::Ipv4Addr> {
    let others = || if_addrs::get_if_addrs().unwrap_or_default().into_iter().map(|a| a.ip());
    let addresses = std::iter::once(connection.ip()).chain(others());
    let v4 = addresses.filter_map(|address| match address.to_canonical() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let v4: Vec<_> = v4.collect();
    v4.iter().find(|address| !address.is_loopback()).or(v4.first()).copied()
}
