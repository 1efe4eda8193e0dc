//! The example firmware in the emulator, with every instruction counted while viewers watch.

use crate::Result;
use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    ops::Sub,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

/// What the firmware did for each picture.
pub(crate) struct Count {
    pub(crate) instructions: Instructions,
    /// What it says of `Server::serve`.
    pub(crate) bytes_per_connection: usize,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Instructions {
    pub(crate) all: usize,
    /// Of these, those that copied memory.
    pub(crate) memcpy: usize,
    /// Of these, those that computed TCP's and IP's checksums.
    pub(crate) checksum: usize,
}

impl Sub for Instructions {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            all: self.all - other.all,
            memcpy: self.memcpy - other.memcpy,
            checksum: self.checksum - other.checksum,
        }
    }
}

/// Pictures that arrive before the count begins.
const WARM_UP: usize = 4;

/// Longer than anything here takes, though the emulator is slow when it counts.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a firmware for riscv32imc that shows a picture of `bytes` bytes again and again, and counts
/// while `viewers` get `pictures` of them.
pub(crate) fn count(
    firmware: &Path,
    bytes: usize,
    pictures: usize,
    viewers: usize,
) -> Result<Count> {
    let file = std::env::temp_dir().join(format!("camwire-picture-{}", std::process::id()));
    fs::write(&file, picture(bytes))?;
    let counted =
        Board::start(firmware, &file, bytes).and_then(|board| board.count(pictures, viewers));
    fs::remove_file(&file)?;
    counted
}

/// A file that has the structure of a JPEG picture and any size: an SOF, an SOS, and data.
fn picture(bytes: usize) -> Vec<u8> {
    let mut picture = b"\xFF\xD8\
        \xFF\xC0\0\x11\x08\0\xF0\x01\x40\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\
        \xFF\xDA\0\x08\x01\x01\0\0\x3F\0"
        .to_vec();
    picture.resize(bytes - 2, 0x55);
    picture.extend(b"\xFF\xD9");
    picture
}

/// The firmware while it runs.
struct Board {
    qemu: Child,
    port: u16,
    bytes_per_connection: usize,
    so_far: Arc<Mutex<Instructions>>,
}

impl Board {
    /// Starts it and waits until it listens.
    fn start(firmware: &Path, file: &Path, bytes: usize) -> Result<Self> {
        // A port that is free; nobody takes it in the moment until QEMU does.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let help = Command::new("qemu-system-riscv32").arg("-help").output()?.stdout;
        let one_at_a_time: &[&str] = match String::from_utf8_lossy(&help) {
            help if help.contains("one-insn-per-tb") => &["-accel", "tcg,one-insn-per-tb=on"],
            _ => &["-singlestep"], // Before version 8.1.
        };
        let mut qemu = Command::new("qemu-system-riscv32")
            .args(["-M", "virt", "-cpu", "rv32,a=off,f=off,d=off,s=off,h=off", "-m", "32M"])
            .args(["-bios", "none", "-display", "none", "-monitor", "none"])
            .args(["-serial", "stdio", "-no-reboot"])
            .args(["-global", "virtio-mmio.force-legacy=false"])
            .args(["-netdev", &format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:80")])
            .args(["-device", "virtio-net-device,netdev=net"])
            .args([
                "-device",
                &format!("loader,file={},addr=0x80400000,force-raw=on", file.display()),
            ])
            .args(["-append", &format!("pictures={bytes} fps=10")])
            // Time passes with the instructions, 8 ns each, not with how slow the counting is.
            .args(["-icount", "shift=3"])
            // A line for every instruction, with the name of the function that it is in.
            .args(one_at_a_time)
            .args(["-d", "exec,nochain", "-kernel"])
            .arg(firmware)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let so_far = Arc::<Mutex<Instructions>>::default();
        let trace = qemu.stderr.take().expect("it is piped");
        let counter = so_far.clone();
        std::thread::spawn(move || count_lines(BufReader::new(trace), &counter));
        let console = qemu.stdout.take().expect("it is piped");
        let mut board = Self { qemu, port, bytes_per_connection: 0, so_far };

        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(console).lines().map_while(io::Result::ok) {
                let _ = sender.send(line); // Once it listens, nobody listens to it.
            }
        });
        loop {
            let line = lines
                .recv_timeout(PATIENCE)
                .map_err(|_| "the firmware in the emulator does not report that it listens")?;
            if let Some(rest) = line.strip_prefix("serve: ") {
                let number = rest.split(' ').next().and_then(|number| number.parse().ok());
                board.bytes_per_connection = number.ok_or_else(|| line.clone())?;
            }
            if line.starts_with("listening on ") {
                return match board.bytes_per_connection {
                    0 => Err("the firmware does not report what serve takes".into()),
                    _ => Ok(board),
                };
            }
        }
    }

    fn count(self, pictures: usize, viewers: usize) -> Result<Count> {
        let viewers: io::Result<Vec<_>> = (0..viewers).map(|_| Viewer::new(self.port)).collect();
        let mut viewers = viewers?;
        let mut after = |pictures| -> io::Result<Instructions> {
            for _ in 0..pictures {
                viewers.iter_mut().try_for_each(Viewer::picture)?;
            }
            Ok(*self.so_far.lock().expect("it only counts"))
        };
        let begun = after(WARM_UP)?;
        let Instructions { all, memcpy, checksum } = after(pictures)? - begun;
        if memcpy == 0 || checksum == 0 {
            return Err("no function for memcpy or for checksums: all inlined?".into());
        }
        let [all, memcpy, checksum] = [all, memcpy, checksum].map(|count| count / pictures);
        let instructions = Instructions { all, memcpy, checksum };
        Ok(Count { instructions, bytes_per_connection: self.bytes_per_connection })
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Reads QEMU's log. Each line ends with the name of the function that the instruction is in.
fn count_lines(mut log: impl BufRead, so_far: &Mutex<Instructions>) {
    let mut line = String::new();
    while log.read_line(&mut line).is_ok_and(|read| read > 0) {
        let executed = if line.starts_with("Trace ") {
            1
        } else if line.starts_with("Stopped execution") || line.starts_with("cpu_io_recompile") {
            // The one of the line before was not executed, for an interrupt or because it uses a
            // device and was not translated for that. It comes again.
            -1
        } else {
            0
        };
        let mut so_far = so_far.lock().expect("it only counts");
        let add = |count: &mut usize| *count = count.wrapping_add_signed(executed);
        add(&mut so_far.all);
        if line.contains("memcpy") {
            add(&mut so_far.memcpy);
        } else if line.contains("checksum") {
            add(&mut so_far.checksum);
        }
        line.clear();
    }
}

/// Somebody who watches a stream.
struct Viewer(BufReader<TcpStream>);

impl Viewer {
    fn new(port: u16) -> io::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /stream HTTP/1.1\r\nHost: board\r\n\r\n")?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Waits until one picture more is there.
    fn picture(&mut self) -> io::Result<()> {
        let mut length = None;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            match line.strip_prefix("Content-Length: ") {
                _ if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(number) => length = number.trim().parse().ok(),
                None => {}
            }
            if let ("\r\n", Some(length)) = (&*line, length) {
                return self.0.read_exact(&mut vec![0; length]);
            }
        }
    }
}
