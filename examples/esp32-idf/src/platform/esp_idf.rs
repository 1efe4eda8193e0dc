//! The board, by ESP-IDF. This is the one file that only Espressif's toolchain can compile; a test
//! counts its lines.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use camwire::frame::Random;
use camwire::mqtt::{Motor, Speed};
use esp_idf_svc::eventloop::EspSystemEventLoop;
use esp_idf_svc::hal::ledc::config::{Resolution, TimerConfig};
use esp_idf_svc::hal::ledc::{LedcDriver, LedcTimerDriver};
use esp_idf_svc::hal::{modem::Modem, peripherals::Peripherals, units::Hertz};
use esp_idf_svc::netif::{EspNetif, NetifConfiguration, NetifStack};
use esp_idf_svc::nvs::EspDefaultNvsPartition;
use esp_idf_svc::sys::{self, EspError, esp};
use esp_idf_svc::wifi::{
    AuthMethod, BlockingWifi, ClientConfiguration, Configuration, EspWifi, WifiDriver,
};
use esp_idf_svc::{io::vfs::MountedEventfs, ipv4, log::EspLogger, sntp::EspSntp};

use crate::camera::Memory;
use crate::settings::{ADDRESS, BOARD, GATEWAY, MOTORS, PASSWORD, SSID};
use crate::{lamp, motors, network};

/// The driver has a task and a stack of its own.
pub const DRIVER_STACK_BYTES: usize = 0;

/// What there is.
pub struct Board {
    pub memory: Memory,
    pub lamp: Option<Lamp>,
    pub motors: Option<Motors>,
    pub station: Station,
}

/// Starts the system, the lamp and the radio.
///
/// # Panics
///
/// If ESP-IDF refuses, which it does not on a board that works. A panic restarts the board.
pub fn start() -> Board {
    sys::link_patches();
    EspLogger::initialize_default();
    // By this, a thread that waits for sockets is woken for other reasons. It stays.
    std::mem::forget(MountedEventfs::mount(2).expect("there is memory at the start"));

    let internal = sys::MALLOC_CAP_INTERNAL | sys::MALLOC_CAP_8BIT;
    // SAFETY: these read counters of the heap.
    let memory = unsafe {
        Memory {
            psram: sys::heap_caps_get_largest_free_block(sys::MALLOC_CAP_SPIRAM),
            internal: sys::heap_caps_get_free_size(internal),
            internal_piece: sys::heap_caps_get_largest_free_block(internal),
        }
    };

    let chip = Peripherals::take().expect("nobody else takes them");
    if BOARD == "esp-eye" {
        for pin in [13, 14] {
            // SAFETY: the chip of this board has these pins. They are lines of the camera, and
            // float without a pull-up.
            unsafe { sys::gpio_set_pull_mode(pin, sys::gpio_pull_mode_t_GPIO_PULLUP_ONLY) };
        }
    }
    // The camera's clock takes timer 0 and channel 0.
    let config = TimerConfig::new().frequency(Hertz(5000)).resolution(Resolution::Bits13);
    let lamp = (BOARD == "ai-thinker").then(|| {
        let timer = LedcTimerDriver::new(chip.ledc.timer1, &config).expect("it is free");
        let driver = LedcDriver::new(chip.ledc.channel1, &timer, chip.pins.gpio4);
        std::mem::forget(timer); // It runs for as long as the lamp.
        Lamp(driver.expect("it is free"))
    });
    let motors = MOTORS.then(|| {
        let timer = LedcTimerDriver::new(chip.ledc.timer2, &config).expect("it is free");
        let a = LedcDriver::new(chip.ledc.channel2, &timer, chip.pins.gpio2).expect("it is free");
        let b = LedcDriver::new(chip.ledc.channel3, &timer, chip.pins.gpio3).expect("it is free");
        std::mem::forget(timer); // It runs for as long as they.
        Motors([a, b])
    });
    let station = Station::new(chip.modem).expect("the radio starts");
    Board { memory, lamp, motors, station }
}

/// Where the doors are.
pub fn doors(ports: &[u16]) -> Vec<SocketAddr> {
    ports.iter().map(|port| (Ipv4Addr::UNSPECIFIED, *port).into()).collect()
}

/// Sets a viewer's socket up. lwIP holds little by itself.
///
/// # Errors
///
/// If the socket has been closed already.
pub fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)
}

/// Restarts the board, slowly enough for what it has printed to be read.
pub fn restart() -> ! {
    sleep(Duration::from_secs(10));
    esp_idf_svc::hal::reset::restart()
}

/// The chip's generator. Nobody can predict it once Wi-Fi runs: the radio's noise feeds it.
// SAFETY: it has no conditions.
pub const RANDOM: Random = Random::new(|| unsafe { sys::esp_random() });

/// The number of the chip, which no other has.
pub fn chip_number() -> [u8; 6] {
    let mut number = [0; 6];
    // SAFETY: there is room for the six bytes that it writes.
    unsafe { sys::esp_efuse_mac_get_default(number.as_mut_ptr()) };
    number
}

/// Wi-Fi.
pub struct Station {
    wifi: BlockingWifi<EspWifi<'static>>,
    /// Asks for the time, from when there is a network.
    time: Option<EspSntp<'static>>,
}

impl Station {
    fn new(modem: Modem<'static>) -> Result<Self, EspError> {
        let events = EspSystemEventLoop::take()?;
        let driver = WifiDriver::new(modem, events.clone(), Some(EspDefaultNvsPartition::take()?))?;
        let mut interface = NetifConfiguration::wifi_default_client();
        if let Some((ip, bits)) = ADDRESS {
            let gateway = GATEWAY.unwrap_or(Ipv4Addr::UNSPECIFIED);
            let subnet = ipv4::Subnet { gateway, mask: ipv4::Mask(bits) };
            let settings = ipv4::ClientSettings { ip, subnet, dns: GATEWAY, secondary_dns: None };
            interface.ip_configuration =
                Some(ipv4::Configuration::Client(ipv4::ClientConfiguration::Fixed(settings)));
        }
        let (client, router) =
            (EspNetif::new_with_conf(&interface)?, EspNetif::new(NetifStack::Ap)?);
        let mut wifi = BlockingWifi::wrap(EspWifi::wrap_all(driver, client, router)?, events)?;
        let auth_method =
            if PASSWORD.is_empty() { AuthMethod::None } else { AuthMethod::WPA2Personal };
        wifi.set_configuration(&Configuration::Client(ClientConfiguration {
            ssid: SSID.try_into().expect("build.rs has looked at its length"),
            password: PASSWORD.try_into().expect("build.rs has looked at its length"),
            auth_method,
            ..Default::default()
        }))?;
        wifi.start()?;
        // A radio that sleeps between two beacons makes every picture wait for the next.
        // SAFETY: Wi-Fi has been started, which is all that this asks for.
        esp!(unsafe { sys::esp_wifi_set_ps(sys::wifi_ps_type_t_WIFI_PS_NONE) })?;
        Ok(Self { wifi, time: None })
    }
}

impl network::Station for Station {
    type Error = EspError;

    fn join(&mut self) -> Result<IpAddr, EspError> {
        self.wifi.connect()?;
        self.wifi.wait_netif_up()?;
        if self.time.is_none() {
            self.time = EspSntp::new_default().ok();
        }
        Ok(IpAddr::V4(self.wifi.wifi().sta_netif().get_ip_info()?.ip))
    }

    fn is_in(&self) -> bool {
        self.wifi.is_up().unwrap_or(false)
    }

    fn leave(&mut self) {
        // It is an error only where there is nothing to leave.
        let _ = self.wifi.disconnect();
    }
}

/// The white one of the ESP32-CAM.
pub struct Lamp(LedcDriver<'static>);

impl lamp::Lamp for Lamp {
    fn shine(&mut self, level: u8) {
        let duty = self.0.get_max_duty() * u32::from(level) / u32::from(u8::MAX);
        if let Err(error) = self.0.set_duty(duty) {
            println!("lamp: {error}");
        }
    }
}

/// Two motors on a driver such as the L298N, on the existing camera's pins.
pub struct Motors([LedcDriver<'static>; 2]);

impl motors::Drive for Motors {
    fn turn(&mut self, motor: Motor, speed: Speed) {
        let levels = [speed > Speed::STOP, speed < Speed::STOP];
        for (pin, level) in [[12, 13], [15, 14]][motor as usize].into_iter().zip(levels) {
            // SAFETY: the chip has these pins, and nobody else uses them.
            unsafe { sys::gpio_set_direction(pin, sys::gpio_mode_t_GPIO_MODE_OUTPUT) };
            // SAFETY: as above.
            unsafe { sys::gpio_set_level(pin, level.into()) };
        }
        if let Err(error) = self.0[motor as usize].set_duty(speed.duty().into()) {
            println!("motor {motor:?}: {error}");
        }
    }
}
