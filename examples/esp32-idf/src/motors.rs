//! Two motors and their deadman: a second after the last heartbeat they stop, whatever the network
//! and the camera do.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use camwire::frame::Clock as _;
use camwire::mqtt::{Command, Motor, Motors, NoHeartbeat, Speed};

use crate::clock::Clock;

/// What turns a motor.
pub trait Drive {
    /// Lets it turn so fast.
    fn turn(&mut self, motor: Motor, speed: Speed);
}

/// Obeys commands, and sees to it that the motors stop.
#[derive(Debug)]
pub struct Wheels<D> {
    shared: Arc<Shared<D>>,
    clock: Clock,
}

#[derive(Debug)]
struct Shared<D> {
    state: Mutex<State<D>>,
    /// There may be another moment to stop at.
    changed: Condvar,
}

#[derive(Debug)]
struct State<D> {
    motors: Motors,
    drive: D,
}

impl<D: Drive + Send + 'static> Wheels<D> {
    /// The motors stand still. What stops them is a thread of its own.
    ///
    /// # Errors
    ///
    /// If the thread cannot be had.
    pub fn new(mut drive: D, clock: Clock) -> io::Result<Self> {
        for motor in [Motor::A, Motor::B] {
            drive.turn(motor, Speed::STOP);
        }
        let state = Mutex::new(State { motors: Motors::new(), drive });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new().name("deadman".to_owned()).stack_size(4096);
        thread.spawn(move || watched.stop_in_time(clock))?;
        Ok(Self { shared, clock })
    }

    /// Obeys a heartbeat, and a speed while there are heartbeats.
    ///
    /// # Errors
    ///
    /// If there are none.
    pub fn obey(&self, command: Command) -> Result<(), NoHeartbeat> {
        let (now, mut state) = (self.clock.now(), self.shared.lock());
        let done = match command {
            Command::Heartbeat => {
                state.motors.heartbeat(now);
                Ok(())
            }
            Command::Motor(motor, speed) => {
                let done = state.motors.set(motor, speed, now);
                let speed = state.motors.speed(motor, now);
                state.drive.turn(motor, speed);
                done
            }
            _ => Ok(()),
        };
        self.shared.changed.notify_one();
        done
    }
}

impl<D: Drive> Shared<D> {
    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_in_time(&self, clock: Clock) {
        let mut state = self.lock();
        loop {
            let now = clock.now();
            state = match state.motors.stop_at() {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) if at > now => {
                    let waited = self.changed.wait_timeout(state, at.saturating_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    for motor in [Motor::A, Motor::B] {
                        // To stop is always allowed.
                        let _ = state.motors.set(motor, Speed::STOP, now);
                        state.drive.turn(motor, Speed::STOP);
                    }
                    state
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camwire::frame::Instant;
    use std::sync::mpsc;
    use std::time::Duration;

    impl Drive for mpsc::Sender<(Motor, i16)> {
        fn turn(&mut self, motor: Motor, speed: Speed) {
            self.send((motor, speed.as_thousandths())).unwrap();
        }
    }

    #[test]
    fn the_motors_stop_without_heartbeats() {
        let (drive, turned) = mpsc::channel();
        let next = || turned.recv_timeout(Duration::from_secs(20)).expect("it turns, or stops");
        let wheels = Wheels::new(drive, Clock::agreeing_with(Instant::ZERO)).unwrap();
        assert_eq!([next(), next()], [(Motor::A, 0), (Motor::B, 0)]);

        let half = Speed::from_thousandths(500).unwrap();
        let forwards = Command::Motor(Motor::A, half);
        assert_eq!(wheels.obey(forwards), Err(NoHeartbeat));
        assert_eq!(next(), (Motor::A, 0));
        for _ in 0..2 {
            assert_eq!(wheels.obey(Command::Heartbeat), Ok(()));
            assert_eq!(wheels.obey(forwards), Ok(()));
            assert_eq!(next(), (Motor::A, 500));
            assert_eq!([next(), next()], [(Motor::A, 0), (Motor::B, 0)], "nobody told it to");
        }
        assert_eq!(wheels.obey(forwards), Err(NoHeartbeat));
    }
}
