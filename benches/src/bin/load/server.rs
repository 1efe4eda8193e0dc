//! The servers under test: how each is started, and one that runs.

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::pictures::Pictures;
use crate::process::Family;
use crate::stream::{StreamError, StreamReader};

/// How long a server may take until its first picture.
const START: Duration = Duration::from_secs(15);
/// How long it may take to end.
const STOP: Duration = Duration::from_secs(3);

/// A server that can be started: its name, the path of its stream, and its command, in which
/// `{port}`, `{dir}` and `{fps}` are put in.
#[derive(Clone, Debug)]
pub(crate) struct ServerSpec {
    pub(crate) name: String,
    path: String,
    command: Vec<String>,
}

impl ServerSpec {
    /// `camwire-host` from the directory of this program, and the path of one of its doors.
    fn camwire(name: &str, path: &str) -> Result<Self, String> {
        let host = env::current_exe().map_err(|e| e.to_string())?.with_file_name("camwire-host");
        if !host.exists() {
            return Err("camwire-host is not built: cargo build --release -p camwire-host".into());
        }
        let options = "serve --listen 127.0.0.1:{port} --source dir:{dir} --fps {fps} \
                       --max-viewers 2000";
        Ok(Self::new(name, path, &host, options))
    }

    /// The plain Node fan-out beside this crate.
    fn node() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/fanout.js");
        let mut node = Self::new("node", "/", Path::new("node"), "{port} {dir} {fps}");
        node.command.insert(1, script.to_string_lossy().into_owned());
        node
    }

    fn new(name: &str, path: &str, program: &Path, arguments: &str) -> Self {
        let mut command = vec![program.to_string_lossy().into_owned()];
        command.extend(arguments.split_ascii_whitespace().map(Into::into));
        Self { name: name.into(), path: path.into(), command }
    }
}

/// `camwire`, `camwire-ws`, `node`, or `NAME /PATH COMMAND...` in words without quoting.
impl FromStr for ServerSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "camwire" => return Self::camwire("camwire", "/stream"),
            "camwire-ws" => return Self::camwire("camwire-ws", "/ws"),
            "node" => return Ok(Self::node()),
            _ => {}
        }
        let mut words = text.split_ascii_whitespace().map(String::from);
        let (Some(name), Some(path), Some(program)) = (words.next(), words.next(), words.next())
        else {
            return Err("expected camwire, camwire-ws, node, or 'NAME /PATH COMMAND...'".into());
        };
        if !path.starts_with('/') {
            return Err(format!("the path of {name}'s stream has to begin with '/': {path}"));
        }
        Ok(Self { name, path, command: std::iter::once(program).chain(words).collect() })
    }
}

/// A running server; ended when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What a viewer sends to get the stream.
    pub(crate) request: Vec<u8>,
}

impl Server {
    /// Starts it on a free port and returns when it has sent a first picture.
    pub(crate) fn start(spec: &ServerSpec, pictures: &Pictures, fps: f64) -> Result<Self, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        drop(listener);

        let fill = |word: &String| {
            word.replace("{port}", &address.port().to_string())
                .replace("{dir}", &pictures.dir().to_string_lossy())
                .replace("{fps}", &fps.to_string())
        };
        let log_path = pictures.note("server.log");
        let log = File::create(&log_path).map_err(|e| e.to_string())?;
        let child = Command::new(&spec.command[0])
            .args(spec.command[1..].iter().map(fill))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{}: {}: {e}", spec.name, spec.command[0]))?;

        let mut server = Self { child, address, request: request(&spec.path, "1.1", address) };
        server.wait_for_picture(&spec.path).map_err(|why| {
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            format!("{}: {why}\n{log}", spec.name)
        })?;
        Ok(server)
    }

    pub(crate) fn family(&self) -> Family {
        Family::of(self.child.id())
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn wait_for_picture(&mut self, path: &str) -> Result<(), String> {
        let end = Instant::now() + START;
        let mut why = "it does not listen".to_owned();
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended: {status}"));
            }
            match self.first_picture() {
                Ok(()) => return Ok(()),
                Err(Probe::Stream(StreamError::Chunked)) => {
                    self.request = request(path, "1.0", self.address);
                }
                Err(Probe::Stream(error)) => why = error.to_string(),
                Err(Probe::Silent) => {}
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("no frame within {START:?}: {why}"))
    }

    fn first_picture(&self) -> Result<(), Probe> {
        let mut socket = TcpStream::connect_timeout(&self.address, Duration::from_secs(1))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.write_all(&self.request)?;
        let mut reader = StreamReader::new();
        let mut buffer = [0; 16 * 1024];
        let mut pictures = 0;
        while pictures == 0 {
            match socket.read(&mut buffer)? {
                0 => return Err(Probe::Silent),
                n => reader.push(&buffer[..n], &mut |_| pictures += 1).map_err(Probe::Stream)?,
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let end = Instant::now() + STOP;
        while self.is_running() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Why there was no first picture.
enum Probe {
    Silent,
    Stream(StreamError),
}

impl From<std::io::Error> for Probe {
    fn from(_: std::io::Error) -> Self {
        Self::Silent
    }
}

/// A path that ends with `/ws` is asked for over WebSocket.
fn request(path: &str, version: &str, address: SocketAddr) -> Vec<u8> {
    // The key is the example of RFC 6455, section 1.3: the answer to it is not looked at.
    let upgrade = if path.ends_with("/ws") {
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    } else {
        ""
    };
    format!("GET {path} HTTP/{version}\r\nHost: {address}\r\nAccept: */*\r\n{upgrade}\r\n")
        .into_bytes()
}
