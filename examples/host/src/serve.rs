//! `camwire-host serve`: one or several cameras, each with a ring, and any number of viewers.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use camwire::capture::{
    CaptureConfig, FramePublisher, FrameRing, MemoryError, Settings, SourceStatus,
    capture_loop_with_settings,
};
use camwire::frame::FrameSource as _;
use camwire::server::{CameraName, Config, Cors, Credentials, Disconnect, Hub, Server, ViewerSlot};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cameras::{self, CameraArg, CamerasError};
use crate::cli::{ServeArgs, SourceArg};
use crate::clock::HostClock;
use crate::dial::RANDOM;
use crate::mqtt;
use crate::net;
use crate::source::{AnySource, LARGEST_PICTURE, SourceError};

/// Slots of the ring. A viewer that has had a picture for a second (the default grace) may lose
/// it when the ring is full; at 60 pictures a second that takes 60 slots, so with these there is
/// always a lease that may be asked back, however many viewers stall.
const SLOTS: usize = 64;

/// The same of each of several cameras, so that they do not take too much memory together.
const SLOTS_OF_SEVERAL: usize = 16;

/// Places for readers beyond the viewers', for `/capture`.
const SPARE_READERS: usize = 256;

/// Files and sockets that the program may have open, if the system lets it.
const OPEN_FILES: u64 = 65_536;

/// How long connections have to end after Ctrl-C.
const FAREWELL: Duration = Duration::from_millis(500);

type HostServer = Server<'static, HostClock>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, IoReason),
    #[error("{0}")]
    Cameras(#[from] CamerasError),
    #[error("{0} needs a single --source")]
    OfSeveral(&'static str),
    #[error("{0}")]
    Source(#[from] SourceError),
    #[error("--source ingest needs a token for the camera: --ingest-token TOKEN, or --token TOKEN")]
    NoIngestToken,
    #[error(
        "--push-token and a user and password in the URL of --push do not go together: give one"
    )]
    TwoPushLogins,
    #[error("no memory for the ring: {0}")]
    Ring(#[from] MemoryError),
    #[error("{0}")]
    Mqtt(#[from] mqtt::MqttError),
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
}

/// An error of the system in words, without its number where that says nothing more.
#[derive(Debug)]
pub(crate) struct IoReason(pub(crate) io::Error);

impl std::fmt::Display for IoReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.kind() {
            io::ErrorKind::AddrInUse => f.write_str("another program uses that port"),
            io::ErrorKind::AddrNotAvailable => f.write_str("this machine has no such address"),
            io::ErrorKind::PermissionDenied => f.write_str("permission denied"),
            _ => self.0.fmt(f),
        }
    }
}

/// Serves until Ctrl-C.
pub(crate) fn run(args: &ServeArgs) -> Result<(), ServeError> {
    raise_open_files();
    let first = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let workers = Workers::start(first.handle().clone())?;
    first.block_on(serve(args, workers))
}

async fn serve(args: &ServeArgs, workers: Workers) -> Result<(), ServeError> {
    if args.push.has_two_logins() {
        return Err(ServeError::TwoPushLogins);
    }
    let clock = HostClock::start();
    let cameras = cameras::all(&args.source, args.config.as_deref())?;
    let is_alone = cameras.len() == 1;
    if !is_alone && args.push.is_wanted() {
        return Err(ServeError::OfSeveral("--push"));
    }
    // What is most likely to fail comes first. With ingest, the frames come to the server.
    let sources = cameras.iter().map(|camera| match camera.source {
        SourceArg::Ingest => Ok(None),
        _ => AnySource::open(&camera.source, &args.options, &camera.own, clock).map(Some),
    });
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let mut listeners = Vec::new();
    for (n, &address) in args.listen.iter().enumerate() {
        if address.port() != 0 && args.listen[..n].contains(&address) {
            continue; // Said twice.
        }
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.map_err(|error| ServeError::Listen(address, IoReason(error)))?);
    }

    let config = configuration(args, &cameras, &listeners)?;
    let has_password = config.credentials != Credentials::default();
    let (stop, stopped) = watch::channel(());
    let (mut hubs, mut captures) = (Vec::new(), Vec::new());
    for (camera, source) in cameras.iter().zip(sources) {
        let hub = hub(args, camera, source.as_ref(), is_alone, clock, &config)?;
        if let (Some(source), Some(settings)) = (source, hub.settings()) {
            let capture = source.capture_config(camera.own.fps.or(args.options.fps));
            let publisher = hub.ring().publisher().expect("the first of this ring");
            let (status, mut stopped) = (hub.status(), stopped.clone());
            captures.push(tokio::spawn(async move {
                let until = async { drop(stopped.changed().await) };
                capture_pictures(source, publisher, clock, capture, status, settings, until).await;
            }));
        }
        hubs.push(hub);
    }
    let server: Arc<HostServer> = Arc::new(match hubs.len() {
        1 => Server::from(hubs.remove(0)),
        _ => Server::of_cameras(hubs.leak()).expect("their names are checked"),
    });

    let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
    let web_port = mqtt::web_port(addresses);
    let first = server.hub();
    let (ring, status) = (first.ring(), first.status());
    // A camera that pushes has none; then these stay empty.
    let settings = first.settings().unwrap_or_else(|| Box::leak(Box::new(Settings::new())));
    let host = mqtt::Host { ring, settings, status, clock, web_port };
    let mqtt = mqtt::open(&args.mqtt, &args.options.mqtt.tls, &cameras[0].source, host)?;
    if mqtt.is_some() && !is_alone {
        return Err(ServeError::OfSeveral("--mqtt"));
    }

    for listener in &listeners {
        announce(listener.local_addr()?, has_password);
    }
    let mut tasks = JoinSet::new();
    let workers = Arc::new(workers);
    for listener in listeners {
        let (server, workers) = (Arc::clone(&server), Arc::clone(&workers));
        tasks.spawn(accept(listener, server, workers, stopped.clone()));
    }
    if let Some(pusher) = args.push.pusher(args.token.as_ref()) {
        let (server, mut stopped) = (Arc::clone(&server), stopped.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = pusher.run(server.hub(), clock) => {}
                // It has the rest of the farewell to say goodbye.
                _ = async { stopped.changed().await.ok(); tokio::time::sleep(FAREWELL).await } => {}
            }
        });
    }
    drop(stopped);

    interrupted().await?;
    if let Some(mqtt) = mqtt {
        mqtt.close().await;
    }
    // Without a publisher the streams end as they should, with their closing delimiter; the
    // listeners go at once, and with them whatever has not ended in time.
    let _ = stop.send(());
    for hub in server.hubs().iter().filter(|hub| hub.config().ingest_token.is_some()) {
        hub.ring().close();
    }
    let all_gone = async {
        while tasks.join_next().await.is_some() {}
        for capture in captures {
            let _ = capture.await;
        }
    };
    let _ = tokio::time::timeout(FAREWELL, all_gone).await;
    Ok(())
}

/// One camera. It lives as long as the program does.
fn hub(
    args: &ServeArgs,
    camera: &CameraArg,
    source: Option<&AnySource>,
    is_alone: bool,
    clock: HostClock,
    config: &Config,
) -> Result<Hub<'static, HostClock>, ServeError> {
    let (kind, slot_bytes) = match source {
        Some(source) => (source.kind(), source.slot_bytes()),
        None => ("ingest", LARGEST_PICTURE),
    };
    let slots = if is_alone { SLOTS } else { SLOTS_OF_SEVERAL };
    let viewers = usize::from(args.max_viewers);
    let ring = FrameRing::leak(slots, slot_bytes, viewers + SPARE_READERS, args.policy)?;
    let status: &'static SourceStatus = Box::leak(Box::new(SourceStatus::new(kind)));
    let places = (0..viewers).map(|_| ViewerSlot::new()).collect::<Vec<_>>().leak();
    let mut config = config.clone();
    if source.is_some() {
        config.ingest_token = None;
    }
    let mut hub = Hub::new(ring, status, places, clock, RANDOM, config);
    if source.is_some() {
        hub = hub.with_settings(Box::leak(Box::new(Settings::new())));
    }
    let name: Option<&'static str> = camera.name.clone().map(|name| &*name.leak());
    Ok(match name.and_then(CameraName::new) {
        Some(name) => hub.with_name(name),
        None => hub,
    })
}

/// The server's configuration. Its texts live as long as the program does.
fn configuration(
    args: &ServeArgs,
    cameras: &[CameraArg],
    listeners: &[TcpListener],
) -> Result<Config, ServeError> {
    let text = |text: &String| -> &'static str { text.clone().leak() };
    let mut config = Config::default();
    config.cors = if args.cors { Cors::AnyOrigin } else { Cors::SameOrigin };
    config.origins = args.allow_origin.iter().map(text).collect::<Vec<_>>().leak();
    config.credentials.basic = args.auth.as_ref().map(|auth| text(&auth.0));
    config.credentials.token = args.token.as_ref().map(|token| text(&token.0));
    if cameras.iter().any(|camera| matches!(camera.source, SourceArg::Ingest)) {
        let token = args.push.ingest_token(args.token.as_ref());
        config.ingest_token = Some(text(&token.ok_or(ServeError::NoIngestToken)?.0));
    }
    // Whoever cannot reach the server must not make a browser on this computer do it for them.
    let mut hosts: Vec<&'static str> = vec!["localhost", "127.0.0.1", "[::1]"];
    hosts.extend(args.allow_host.iter().map(text));
    for listener in listeners {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            return Ok(config); // It has names that nobody here knows.
        }
        if address.is_ipv4() {
            hosts.push(address.ip().to_string().leak());
        }
    }
    config.hosts = hosts.leak();
    Ok(config)
}

/// Prints the addresses to open.
fn announce(listening: SocketAddr, has_password: bool) {
    let ip = listening.ip();
    let mut addresses = vec![listening];
    if ip.is_unspecified() {
        // All addresses of this machine, of which the ones in the network are those to open.
        let all = if_addrs::get_if_addrs().unwrap_or_default();
        let ours = all.iter().map(if_addrs::Interface::ip).filter(|a| a.is_ipv4() || ip.is_ipv6());
        let ours = ours.filter(|a| !matches!(a, IpAddr::V6(a) if a.is_unicast_link_local()));
        addresses = ours.map(|a| SocketAddr::new(a, listening.port())).collect();
    }
    let mut out = io::stdout().lock();
    for address in addresses {
        // Nobody may be there to read it, which is no reason to stop.
        let _ = writeln!(out, "camwire-host: http://{address}/");
    }
    if !ip.is_loopback() && !has_password {
        log::warn!("there is no password: whoever reaches {listening} can watch");
    }
}

/// Captures on the first worker's thread. To draw a picture or read a file takes a millisecond or
/// so; to wake another thread for it, and from there hundreds of viewers here, would take more.
async fn capture_pictures(
    mut source: AnySource,
    mut publisher: FramePublisher<'static>,
    clock: HostClock,
    config: CaptureConfig,
    status: &'static SourceStatus,
    settings: &'static Settings,
    until: impl Future<Output = ()>,
) {
    let pictures = async {
        let (publisher, source) = (&mut publisher, &mut source);
        capture_loop_with_settings(publisher, source, &clock, &config, status, settings).await;
        log::info!("the source has ended");
    };
    tokio::select! {
        () = pictures => {}
        () = until => {}
    }
    drop(publisher);
    // A camera at a broker may have to be stopped.
    source.pause().await;
}

/// Threads that serve connections, each with an executor of its own: a viewer stays on its thread,
/// and is woken there without a lock or a system call.
///
/// A second thread gets work only when the first has plenty, and so on. To wake a core costs more
/// than to serve dozens of viewers on one that is awake.
struct Workers {
    runtimes: Vec<Handle>,
    connections: Vec<AtomicUsize>,
}

/// Connections of one thread before the next one gets any.
const PLENTY: usize = 512;

impl Workers {
    /// A worker for each core; the first is the caller's own.
    fn start(first: Handle) -> io::Result<Self> {
        let mut runtimes = vec![first];
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        for number in 1..cores {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtimes.push(runtime.handle().clone());
            let run = move || runtime.block_on(std::future::pending::<()>());
            std::thread::Builder::new().name(format!("worker {number}")).spawn(run)?;
        }
        let connections = runtimes.iter().map(|_| AtomicUsize::new(0)).collect();
        Ok(Self { runtimes, connections })
    }

    /// The first worker that has not got plenty, or the one that has least.
    fn choose(&self) -> usize {
        let load = |worker: usize| self.connections[worker].load(Ordering::Relaxed);
        let workers = 0..self.runtimes.len();
        let free = workers.clone().find(|&worker| load(worker) < PLENTY);
        free.or_else(|| workers.min_by_key(|&worker| load(worker))).unwrap_or(0)
    }
}

/// Accepts connections and gives each to a worker, until it is told to stop; then waits for them.
async fn accept(
    listener: TcpListener,
    server: Arc<HostServer>,
    workers: Arc<Workers>,
    mut stop: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
            _ = stop.changed() => break,
        };
        match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => {
                let worker = workers.choose();
                workers.connections[worker].fetch_add(1, Ordering::Relaxed);
                let (server, workers_) = (Arc::clone(&server), Arc::clone(&workers));
                let serve = async move {
                    if let Err(error) = connection(&server, stream, peer).await {
                        log::debug!("{peer}: {error}");
                    }
                    workers_.connections[worker].fetch_sub(1, Ordering::Relaxed);
                };
                connections.spawn_on(serve, &workers.runtimes[worker]);
            }
            Err(error) => {
                // Usually too many open files: the connections there are must end first.
                log::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    server: &HostServer,
    stream: std::net::TcpStream,
    peer: SocketAddr,
) -> Result<(), Disconnect<io::Error>> {
    // Registered with the worker's own executor.
    let mut stream = TcpStream::from_std(stream)?;
    net::prepare(&stream)?;
    let (read, write) = stream.split();
    server.serve(net::Reader(read), net::Writer(write), Some(peer)).await
}

/// Returns at Ctrl-C, and where there is such a thing when the system asks the program to end.
pub(crate) async fn interrupted() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// A socket for each viewer is more than many systems allow a program unless it asks.
fn raise_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        let most = limit.maximum.unwrap_or(OPEN_FILES).min(OPEN_FILES);
        if limit.current.is_some_and(|current| current < most) {
            limit.current = Some(most);
            if let Err(error) = setrlimit(Resource::Nofile, limit) {
                log::debug!("cannot raise the limit of open files: {error}");
            }
        }
    }
}
