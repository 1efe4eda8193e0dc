//! Staying in the Wi-Fi network.

use std::fmt::Display;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use camwire::frame::Backoff;

/// How long to wait before joining again.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// A connection that held for so long was good: the next wait is the first one again. A network
/// that accepts and then drops at once is tried ever more slowly.
const STABLE: Duration = Duration::from_secs(60);
/// How often to look whether there still is a connection.
const LOOK: Duration = Duration::from_secs(1);

/// What joins a network.
pub trait Station {
    /// How it fails.
    type Error: Display;

    /// Joins the network and waits for an address in it, but not for ever.
    ///
    /// # Errors
    ///
    /// Why there is none.
    fn join(&mut self) -> Result<IpAddr, Self::Error>;

    /// Whether it is in the network still, with an address.
    fn is_in(&self) -> bool;

    /// Leaves the network, or gives up joining it.
    fn leave(&mut self);
}

/// Stays in the network: joins it, and again whenever it is lost, and says where to look: at the
/// server's ports.
pub fn stay(station: &mut impl Station, ports: &[u16]) -> ! {
    let mut backoff = BACKOFF;
    loop {
        once(station, ports, &mut backoff, sleep, Instant::now);
    }
}

/// Joins the network and stays until it is lost, then waits.
fn once(
    station: &mut impl Station,
    ports: &[u16],
    backoff: &mut Backoff,
    mut sleep: impl FnMut(Duration),
    now: impl Fn() -> Instant,
) {
    println!("wifi: joining");
    match station.join() {
        Ok(address) => ports.iter().for_each(|port| match port {
            80 => println!("open http://{address}/"),
            _ => println!("open http://{address}:{port}/"),
        }),
        Err(why) => println!("wifi: {why}"),
    }
    let since = now();
    while station.is_in() {
        sleep(LOOK);
    }
    if now().duration_since(since) >= STABLE {
        backoff.reset();
    }
    let wait = backoff.next(0);
    println!("wifi: not in the network; again in {} s", wait.as_secs());
    station.leave();
    sleep(wait);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::net::Ipv4Addr;

    /// A network that takes the station in, or not, and keeps it for so many looks.
    struct Network {
        rounds: Vec<Option<u32>>,
        looks: Cell<u32>,
        is_in: Cell<bool>,
        joined: u32,
        left: u32,
    }

    impl Station for Network {
        type Error = &'static str;

        fn join(&mut self) -> Result<IpAddr, &'static str> {
            assert!(!self.is_in.get(), "it has left before");
            self.joined += 1;
            let looks = self.rounds.remove(0).ok_or("no such network")?;
            self.looks.set(looks);
            self.is_in.set(true);
            Ok(Ipv4Addr::LOCALHOST.into())
        }

        fn is_in(&self) -> bool {
            if self.looks.get() == 0 {
                self.is_in.set(false);
            } else {
                self.looks.set(self.looks.get() - 1);
            }
            self.is_in.get()
        }

        fn leave(&mut self) {
            self.is_in.set(false);
            self.left += 1;
        }
    }

    /// How long it waited after each round.
    fn waits(rounds: &[Option<u32>]) -> Vec<u64> {
        let (start, slept) = (Instant::now(), Cell::new(Duration::ZERO));
        let mut network = Network {
            rounds: rounds.to_vec(),
            looks: Cell::new(0),
            is_in: Cell::new(false),
            joined: 0,
            left: 0,
        };
        let (mut backoff, mut waits) = (BACKOFF, Vec::new());
        for looks in rounds {
            let before = slept.get();
            let pass = |time| slept.set(slept.get() + time);
            once(&mut network, &[80], &mut backoff, pass, || start + slept.get());
            let watched = LOOK * looks.unwrap_or(0);
            waits.push((slept.get() - before - watched).as_secs());
        }
        assert_eq!((network.joined, network.left), (rounds.len() as u32, rounds.len() as u32));
        waits
    }

    #[test]
    fn a_network_that_is_not_there_is_tried_ever_more_slowly() {
        assert_eq!(waits(&[None; 9]), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_network_that_held_is_joined_again_at_once() {
        assert_eq!(waits(&[None, None, None, Some(60), None, None]), [1, 2, 4, 1, 2, 4]);
        assert_eq!(waits(&[Some(100_000), Some(100_000)]), [1, 1]);
    }

    #[test]
    fn a_network_that_throws_the_station_out_is_tried_ever_more_slowly() {
        assert_eq!(waits(&[Some(0), Some(1), Some(59), Some(2)]), [1, 2, 4, 8]);
    }
}
