use core::fmt;
use core::net::Ipv4Addr;

use camwire_minimq::Network;
use embassy_net::Stack;
use embassy_net::tcp::{self, TcpSocket};
use embassy_time::Duration;
use embedded_io_async::{ErrorType, Read, Write};

/// How long the broker may leave unconfirmed what it was sent.
const SILENCE: Duration = Duration::from_secs(8);

/// The way to a broker over embassy-net: [`CameraClient::run`](camwire_minimq::CameraClient::run) takes it.
///
/// The stack needs room for one socket.
pub struct Broker<'a> {
    stack: Stack<'a>,
    address: (Ipv4Addr, u16),
    received: &'a mut [u8],
    sent: &'a mut [u8],
}

impl fmt::Debug for Broker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("address", &self.address).finish_non_exhaustive()
    }
}

impl<'a> Broker<'a> {
    /// The broker at that address and port; 1883 is the usual one.
    ///
    /// `received` holds what the broker has sent until it is read: 512 bytes will do. `sent` holds
    /// what it has not confirmed, so it bounds the speed, in bytes for each round trip: four
    /// packets, 5760 bytes, are a good beginning.
    pub fn new(
        stack: Stack<'a>,
        address: Ipv4Addr,
        port: u16,
        received: &'a mut [u8],
        sent: &'a mut [u8],
    ) -> Self {
        Self { stack, address: (address, port), received, sent }
    }
}

impl Network for Broker<'_> {
    type Transport<'t>
        = BrokerSocket<'t>
    where
        Self: 't;

    async fn connect(&mut self) -> Option<(BrokerSocket<'_>, Option<Ipv4Addr>)> {
        self.stack.wait_config_up().await;
        let mut socket = TcpSocket::new(self.stack, self.received, self.sent);
        // A part is one write: there is nothing to collect.
        socket.set_nagle_enabled(false);
        socket.set_timeout(Some(SILENCE));
        // smoltcp would take a connection that is only idle for one that is lost.
        socket.set_keep_alive(Some(SILENCE / 4));
        socket.connect(self.address).await.ok()?;
        let own = self.stack.config_v4().map(|config| config.address.address());
        Some((BrokerSocket(socket), own))
    }
}

/// A connection to a broker. Its `flush` does not wait until everything is confirmed, since that
/// would be a round trip for each part of a picture.
pub struct BrokerSocket<'a>(TcpSocket<'a>);

impl fmt::Debug for BrokerSocket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerSocket").field("state", &self.0.state()).finish_non_exhaustive()
    }
}

impl ErrorType for BrokerSocket<'_> {
    type Error = tcp::Error;
}

impl Read for BrokerSocket<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, tcp::Error> {
        self.0.read(buf).await
    }
}

impl Write for BrokerSocket<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, tcp::Error> {
        self.0.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), tcp::Error> {
        Ok(())
    }
}
