//! A network link that goes away for a while, as Wi-Fi does, and what survives that.
//!
//! - `mod.rs`: what the driver and the clocks share, and the clock of deadlines.
//! - `held.rs`: the driver between the network stack and the real driver.
//! - `flow.rs`: the TCP connections that pass through it.
//! - `lease.rs`: the address that DHCP gave the stack.
//! - `packet.rs`: the headers of both.

mod flow;
mod held;
mod lease;
mod packet;

use core::cell::Cell;
use core::time::Duration;

use camwire_frame::{Clock, Instant};
use critical_section::Mutex;

use crate::EmbassyClock;

pub use held::{HeldLink, HeldReceive, HeldTransmit};

/// How often a wait looks whether the link is up again. A deadline is late by so much at most.
const LOOK: Duration = Duration::from_millis(100);

/// The state of a network link, which a [`HeldLink`] keeps and clocks read.
///
/// A link that is lost for at most the *hold time* ends no connection:
///
/// ```
/// use camwire_embassy::{HeldLink, Link};
/// # use camwire_embassy::LinkClock;
/// # use camwire_frame::Random;
/// # use camwire_capture::{FrameRing, SourceStatus};
/// # use camwire_server::{Config, Server, ViewerSlot};
/// # use embassy_net::driver::Driver;
/// static LINK: Link = Link::new();
///
/// # fn firmware<D: Driver>(
/// #     driver: D,
/// #     ring: &'static FrameRing<'static>,
/// #     status: &'static SourceStatus,
/// #     viewers: &'static [ViewerSlot],
/// #     random: Random,
/// # ) -> (HeldLink<'static, D>, Server<'static, LinkClock<'static>>) {
/// // For `embassy_net::new`, in place of the driver itself:
/// let driver: HeldLink<'_, D> = HeldLink::new(driver, &LINK);
/// // And a server whose deadlines stand still while the link is down:
/// let server = Server::new(ring, status, viewers, LINK.clock(), random, Config::default());
/// # (driver, server)
/// # }
/// ```
#[derive(Debug)]
pub struct Link {
    hold_us: u64,
    outages: Mutex<Cell<Outages>>,
}

#[derive(Clone, Copy, Debug)]
struct Outages {
    /// Since when the link is down, if it is.
    since: Option<Instant>,
    /// The outages before that.
    past: Lost,
}

/// What outages have cost, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Lost {
    /// The time for which the link was down.
    outage_us: u64,
    /// The time that peers need afterwards: they have doubled their timeouts meanwhile, so it may be
    /// as long as the outage until they send again what was lost.
    recovery_us: u64,
}

impl Link {
    /// The hold time unless another is given: 30 seconds.
    pub const HOLD: Duration = Duration::from_secs(30);

    /// A link that is up, with a hold time of [`HOLD`](Self::HOLD).
    #[must_use]
    pub const fn new() -> Self {
        Self::with_hold(Self::HOLD)
    }

    /// A link that is up, and whose loss ends connections only after `hold`. At zero, every loss
    /// does.
    #[must_use]
    pub const fn with_hold(hold: Duration) -> Self {
        let outages = Outages { since: None, past: Lost { outage_us: 0, recovery_us: 0 } };
        let hold_us = hold.as_secs().saturating_mul(1_000_000);
        Self {
            hold_us: hold_us.saturating_add(hold.subsec_micros() as u64),
            outages: Mutex::new(Cell::new(outages)),
        }
    }

    /// Whether the link is up, as the real driver reports it. The network stack may see it up while
    /// it is down: see [`HeldLink`].
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.outages().since.is_none()
    }

    /// A clock for servers and clients on this link: [`EmbassyClock`] as a [`LinkClock`].
    #[must_use]
    pub const fn clock(&self) -> LinkClock<'_> {
        LinkClock::new(EmbassyClock, self)
    }

    const fn hold(&self) -> Duration {
        Duration::from_micros(self.hold_us)
    }

    fn outages(&self) -> Outages {
        critical_section::with(|cs| self.outages.borrow(cs).get())
    }

    fn change(&self, change: impl FnOnce(&mut Outages)) {
        critical_section::with(|cs| {
            let cell = self.outages.borrow(cs);
            let mut outages = cell.get();
            change(&mut outages);
            cell.set(outages);
        });
    }

    fn goes_down(&self, now: Instant) {
        self.change(|outages| outages.since = outages.since.or(Some(now)));
    }

    fn comes_up(&self, now: Instant) {
        self.change(|Outages { since, past }| {
            let outage_us = since.take().map_or(0, |since| micros(now.saturating_since(since)));
            past.outage_us = past.outage_us.saturating_add(outage_us);
            past.recovery_us = past.recovery_us.saturating_add(outage_us.min(self.hold_us));
        });
    }

    /// What all outages up to now have cost.
    fn lost(&self) -> Lost {
        let Outages { since, mut past } = self.outages();
        let now = EmbassyClock.now();
        let current_us = since.map_or(0, |since| micros(now.saturating_since(since)));
        past.outage_us = past.outage_us.saturating_add(current_us);
        past
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

/// Not `Duration::as_micros`: its 128-bit arithmetic is costly on a 32-bit core.
fn micros(duration: Duration) -> u64 {
    (Instant::ZERO + duration).as_micros()
}

/// A clock whose deadlines stand still while the link is down: a peer has to do nothing that the
/// network does not let it do.
///
/// A [`deadline`](Clock::deadline) comes later by as long as the link was down during the wait, and
/// by that time again (at most the hold time), since peers have doubled their own timeouts
/// meanwhile. One that is set while the link is down comes later by the rest of that outage. Times and
/// other waits are those of the clock inside.
///
/// Give it to [`Server::new`](camwire_server::Server::new) and to `CameraClient::new` of
/// camwire-minimq.
#[derive(Clone, Copy, Debug)]
pub struct LinkClock<'l, C = EmbassyClock> {
    clock: C,
    link: &'l Link,
}

impl<'l, C> LinkClock<'l, C> {
    /// The times of `clock`, one that knows Unix time for instance, and deadlines that stand still
    /// with `link`.
    pub const fn new(clock: C, link: &'l Link) -> Self {
        Self { clock, link }
    }
}

impl<C: Clock> Clock for LinkClock<'_, C> {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        self.clock.sleep_until(at)
    }

    async fn deadline(&self, at: Instant) {
        let mut due = at;
        let before = self.link.lost();
        // If the link is down, this outage costs no recovery.
        let mut recovery_before = self.link.is_up().then_some(before.recovery_us);
        while self.now() < due {
            // While the link is down, the deadline moves with the time.
            let wake_at = if self.link.is_up() { due } else { self.now() + LOOK };
            self.clock.sleep_until(wake_at).await;
            let lost = self.link.lost();
            if self.link.is_up() {
                recovery_before.get_or_insert(lost.recovery_us);
            }
            let outage_us = lost.outage_us - before.outage_us;
            let recovery_us = recovery_before.map_or(0, |before| lost.recovery_us - before);
            due = at + Duration::from_micros(outage_us.saturating_add(recovery_us));
        }
    }

    fn unix_offset(&self) -> Option<u64> {
        self.clock.unix_offset()
    }
}
