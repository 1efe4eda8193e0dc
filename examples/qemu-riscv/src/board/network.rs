//! QEMU's network card as a driver of embassy-net.

use super::dma::Dma;
use super::register::Register;
use atomic_waker::AtomicWaker;
use core::cell::RefCell;
use core::ptr::NonNull;
use core::task::Context;
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState};
use riscv::register::mie;
use static_cell::ConstStaticCell;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};

/// Packets that can be on their way, in each direction.
const PACKETS: usize = 16;
/// A packet of Ethernet, and what the card puts before it.
const PACKET_BYTES: usize = 1514;
const HEADER_BYTES: usize = 12;

/// Where the lowest bit is set while the card's link is up (Virtual I/O Device, sections 4.2.2
/// and 5.1.4).
const STATUS: usize = 0x100 + 6;

type Card = VirtIONetRaw<Dma, MmioTransport<'static>, PACKETS>;

/// The network card. Its interrupt stays masked from when it fires until the driver looks.
pub struct Network {
    card: RefCell<Card>,
    interrupt: u32,
    status: Register<u16>,
    is_up: bool,
    receiving: &'static mut [Packet; PACKETS],
    sending: &'static mut [Packet; PACKETS],
}

struct Packet {
    /// The card's name for it, while the card has it.
    token: Option<u16>,
    len: usize,
    bytes: [u8; HEADER_BYTES + PACKET_BYTES],
}

impl Packet {
    const NEW: Self = Self { token: None, len: 0, bytes: [0; HEADER_BYTES + PACKET_BYTES] };
}

static WAKER: AtomicWaker = AtomicWaker::new();

pub fn on_interrupt() {
    // SAFETY: masking an interrupt does not break a critical section.
    unsafe { mie::clear_mext() };
    WAKER.wake();
}

impl Network {
    /// Finds the card and starts it.
    pub fn start() -> Option<Self> {
        static PACKET_MEMORY: ConstStaticCell<[[Packet; PACKETS]; 2]> =
            ConstStaticCell::new([const { [const { Packet::NEW }; PACKETS] }; 2]);

        // Interrupts 1 to 8 belong to eight places where devices may be.
        let (interrupt, address, transport) = (1..=8).find_map(|interrupt| {
            let address = 0x1000_0000 + interrupt as usize * 0x1000;
            let header = NonNull::new(address as *mut VirtIOHeader)?;
            // SAFETY: each place has these registers, with or without a device; only this looks.
            let transport = unsafe { MmioTransport::new(header, 0x1000) }.ok()?;
            let is_card = transport.device_type() == DeviceType::Network;
            is_card.then_some((interrupt, address, transport))
        })?;
        let mut card = Card::new(transport).expect("the network card starts");
        let [receiving, sending] = PACKET_MEMORY.take();
        for packet in receiving.iter_mut() {
            packet.give_for_receiving(&mut card);
        }
        plic::enable(interrupt);
        // SAFETY: a network card has this register, and reading it does nothing.
        let status = unsafe { Register::at(address + STATUS) };
        let (card, is_up) = (RefCell::new(card), is_up(&status));
        Some(Self { card, interrupt, status, is_up, receiving, sending })
    }

    /// After an interrupt: allows the next one, and looks at the link. Takes back what was sent.
    fn look(&mut self) {
        let card = self.card.get_mut();
        if !mie::read().mext() {
            plic::claim();
            card.ack_interrupt();
            plic::complete(self.interrupt);
            self.is_up = is_up(&self.status);
            // SAFETY: no critical section is under way: this runs in a task.
            unsafe { mie::set_mext() };
        }
        while let Some(token) = card.poll_transmit() {
            let sent = self.sending.iter_mut().find(|packet| packet.token == Some(token));
            let packet = sent.expect("the card returns what it was given");
            // SAFETY: the same bytes as in `Transmit::consume`.
            let done = unsafe { card.transmit_complete(token, &packet.bytes[..packet.len]) };
            done.expect("the card has sent it");
            packet.token = None;
        }
    }
}

fn is_up(status: &Register<u16>) -> bool {
    status.read() & 1 != 0
}

impl Packet {
    fn give_for_receiving(&mut self, card: &mut Card) {
        // SAFETY: while `token` is set, nobody but the card touches the bytes, which are static.
        let token = unsafe { card.receive_begin(&mut self.bytes) };
        self.token = Some(token.expect("the card takes as many packets as there are"));
    }
}

impl Driver for Network {
    type RxToken<'a> = Receive<'a>;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Receive<'_>, Transmit<'_>)> {
        WAKER.register(cx.waker());
        self.look();
        let Self { card, receiving, sending, .. } = self;
        let free = sending.iter_mut().find(|packet| packet.token.is_none())?;
        let token = card.get_mut().poll_receive()?;
        let packet = receiving.iter_mut().find(|packet| packet.token == Some(token));
        let packet = packet.expect("the card returns what it was given");
        // SAFETY: the same bytes as in `give_for_receiving`.
        let received = unsafe { card.get_mut().receive_complete(token, &mut packet.bytes) };
        packet.token = None;
        packet.len = received.expect("the card has received it").1;
        Some((Receive { card, packet }, Transmit { card, packet: free }))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Transmit<'_>> {
        WAKER.register(cx.waker());
        self.look();
        let free = self.sending.iter_mut().find(|packet| packet.token.is_none())?;
        Some(Transmit { card: &self.card, packet: free })
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        WAKER.register(cx.waker());
        self.look();
        if self.is_up { LinkState::Up } else { LinkState::Down }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = PACKET_BYTES;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.card.borrow().mac_address())
    }
}

/// A packet that has come.
pub struct Receive<'a> {
    card: &'a RefCell<Card>,
    packet: &'a mut Packet,
}

impl embassy_net_driver::RxToken for Receive<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, read: F) -> R {
        let result = read(&mut self.packet.bytes[HEADER_BYTES..][..self.packet.len]);
        self.packet.give_for_receiving(&mut self.card.borrow_mut());
        result
    }
}

/// Room for a packet to send.
pub struct Transmit<'a> {
    card: &'a RefCell<Card>,
    packet: &'a mut Packet,
}

impl embassy_net_driver::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let Packet { bytes, token, len: whole } = self.packet;
        let result = write(&mut bytes[HEADER_BYTES..][..len]);
        let mut card = self.card.borrow_mut();
        card.fill_buffer_header(bytes).expect("the header fits");
        *whole = HEADER_BYTES + len;
        // SAFETY: while `token` is set, nobody but the card touches the bytes, which are static.
        let sent = unsafe { card.transmit_begin(&bytes[..*whole]) };
        *token = Some(sent.expect("the card takes as many packets as there are"));
        result
    }
}

/// The interrupt controller, as far as one interrupt of one processor needs it.
mod plic {
    use super::Register;

    const BASE: usize = 0x0c00_0000;
    // SAFETY: the registers are there (The RISC-V PLIC specification, memory map).
    const ENABLE: Register<u32> = unsafe { Register::at(BASE + 0x2000) };
    // SAFETY: as above.
    const THRESHOLD: Register<u32> = unsafe { Register::at(BASE + 0x20_0000) };
    // SAFETY: as above.
    const CLAIM: Register<u32> = unsafe { Register::at(BASE + 0x20_0004) };

    pub fn enable(interrupt: u32) {
        // SAFETY: as above; there is a priority for each interrupt.
        let priority = unsafe { Register::at(BASE + 4 * interrupt as usize) };
        priority.write(1u32);
        THRESHOLD.write(0);
        ENABLE.write(1 << interrupt);
    }

    pub fn claim() {
        CLAIM.read();
    }

    pub fn complete(interrupt: u32) {
        CLAIM.write(interrupt);
    }
}
