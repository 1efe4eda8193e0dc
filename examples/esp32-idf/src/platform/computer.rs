//! A computer in place of a board: no Wi-Fi, no lamp, and a driver that simulates the camera.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process;

use camwire::frame::Random;
use camwire::mqtt::{Motor, Speed};

use crate::camera::Memory;
use crate::settings::MOTORS;
use crate::{lamp, motors, network};

/// The simulated camera draws its pictures on the stack of whoever asks for them.
pub const DRIVER_STACK_BYTES: usize = 1 << 20;

/// What there is.
pub struct Board {
    pub memory: Memory,
    pub lamp: Option<Lamp>,
    pub motors: Option<Motors>,
    pub station: Station,
}

/// As an ESP32-CAM: 4 MiB of PSRAM, of which the system has taken some.
pub fn start() -> Board {
    #[cfg(not(target_os = "espidf"))]
    esp32_camera_simulator::live();
    let memory = Memory { psram: 4_000 << 10, internal: 280 << 10, internal_piece: 110 << 10 };
    Board { memory, lamp: Some(Lamp), motors: MOTORS.then_some(Motors), station: Station }
}

/// Where the doors are, for this machine only: the first at `CAMWIRE_PORT` when the program runs,
/// else at 8080, and each at the port after that of the one before. With 0, the system chooses.
pub fn doors(ports: &[u16]) -> Vec<SocketAddr> {
    let first = std::env::var("CAMWIRE_PORT").ok().and_then(|port| port.parse().ok());
    let first: u16 = first.unwrap_or(8080);
    let ports = (0..).zip(ports).map(|(at, _)| if first == 0 { 0 } else { first + at });
    ports.map(|port| (Ipv4Addr::LOCALHOST, port).into()).collect()
}

/// Gives a viewer's socket as little room for what waits to be sent as a board has: lwIP's 5,760
/// bytes.
///
/// # Errors
///
/// If the socket has been closed already.
pub fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    #[cfg(not(target_os = "espidf"))]
    socket2::SockRef::from(socket).set_send_buffer_size(5760 / 2)?; // The system takes it twice.
    Ok(())
}

/// Ends the program.
pub fn restart() -> ! {
    process::exit(1)
}

/// The system's generator.
pub const RANDOM: Random = Random::new(|| getrandom::u32().expect("the system has random numbers"));

/// Stands for the number of the chip.
pub fn chip_number() -> [u8; 6] {
    [2, 0, 0, 0, 0, 1]
}

/// It is always in the network: its own.
pub struct Station;

impl network::Station for Station {
    type Error = Infallible;

    fn join(&mut self) -> Result<IpAddr, Infallible> {
        Ok(Ipv4Addr::LOCALHOST.into())
    }

    fn is_in(&self) -> bool {
        true
    }

    fn leave(&mut self) {}
}

/// It tells.
pub struct Lamp;

impl lamp::Lamp for Lamp {
    fn shine(&mut self, level: u8) {
        println!("lamp: {level}");
    }
}

/// They tell.
pub struct Motors;

impl motors::Drive for Motors {
    fn turn(&mut self, motor: Motor, speed: Speed) {
        println!("motor {motor:?}: {}", speed.as_thousandths());
    }
}
