//! Two motors, which stop a second after the last heartbeat, whatever the network and the camera do.
//! The session of the broker says how fast they turn and until when; a thread sees to the end.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use camwire::frame::{Clock as _, Instant};
use camwire::mqtt::{Motor, Outputs, Speed};

use crate::clock::Clock;

/// What turns a motor.
pub trait Drive {
    /// Lets it turn so fast.
    fn turn(&mut self, motor: Motor, speed: Speed);
}

/// Turns the motors, and sees to it that they stop.
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
    outputs: Outputs,
    drive: D,
    /// How fast they turn, A and B. Unknown at the start.
    present: [Option<Speed>; 2],
}

impl<D: Drive + Send + 'static> Wheels<D> {
    /// The motors stand still. What stops them is a thread of its own.
    ///
    /// # Errors
    ///
    /// If the thread cannot be had.
    pub fn new(drive: D, clock: Clock) -> io::Result<Self> {
        let mut state = State::new(drive);
        state.turn(clock.now());
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new().name("watchdog".to_owned()).stack_size(4096);
        thread.spawn(move || watched.stop_in_time(clock))?;
        Ok(Self { shared, clock })
    }

    /// The motors turn like this from now on.
    pub fn drive(&self, outputs: Outputs) {
        let mut state = self.shared.lock();
        state.outputs = outputs;
        // Not before: the thread may have had the lock, and looked later than that.
        state.turn(self.clock.now());
        self.shared.changed.notify_one();
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
            state = match state.turn(now) {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let waited = self.changed.wait_timeout(state, until.saturating_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl<D: Drive> State<D> {
    fn new(drive: D) -> Self {
        let outputs = Outputs { speeds: [Speed::STOP; 2], until: None };
        Self { outputs, drive, present: [None; 2] }
    }

    /// Has the motors do what they are to do now, and says when to look again. Nothing else drives
    /// them.
    fn turn(&mut self, now: Instant) -> Option<Instant> {
        let until = self.outputs.until.filter(|until| now < *until);
        let speeds = if until.is_some() { self.outputs.speeds } else { [Speed::STOP; 2] };
        for ((motor, speed), present) in
            [Motor::A, Motor::B].into_iter().zip(speeds).zip(&mut self.present)
        {
            if *present != Some(speed) {
                self.drive.turn(motor, speed);
                *present = Some(speed);
            }
        }
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    impl Drive for mpsc::Sender<(Motor, i16)> {
        fn turn(&mut self, motor: Motor, speed: Speed) {
            self.send((motor, speed.as_thousandths())).unwrap();
        }
    }

    fn outputs(a: i16, b: i16, until: Instant) -> Outputs {
        let speeds = [a, b].map(|speed| Speed::from_thousandths(speed).unwrap());
        Outputs { speeds, until: Some(until) }
    }

    #[test]
    fn motors_stop_in_time_by_themselves() {
        let (drive, turned) = mpsc::channel();
        let next = || turned.recv_timeout(Duration::from_secs(20)).expect("it turns, or stops");
        let clock = Clock::agreeing_with(Instant::ZERO);
        let wheels = Wheels::new(drive, clock).unwrap();
        assert_eq!([next(), next()], [(Motor::A, 0), (Motor::B, 0)]);
        for _ in 0..2 {
            wheels.drive(outputs(500, 0, clock.now() + Duration::from_millis(500)));
            assert_eq!(next(), (Motor::A, 500));
            assert_eq!(next(), (Motor::A, 0), "nothing asked for it");
        }
        // A heartbeat that comes in time lets them go on.
        let begun = clock.now();
        for ms in [400, 800, 1200] {
            wheels.drive(outputs(0, -300, begun + Duration::from_millis(ms)));
        }
        assert_eq!(next(), (Motor::B, -300));
        assert_eq!(next(), (Motor::B, 0));
        assert!(clock.now() >= begun + Duration::from_millis(1200));
        // What comes late turns nothing.
        wheels.drive(outputs(500, 500, begun));
        wheels.drive(outputs(0, 100, clock.now() + Duration::from_secs(1)));
        assert_eq!(next(), (Motor::B, 100));
    }

    /// What turned, and not what is to.
    impl Drive for [i16; 2] {
        fn turn(&mut self, motor: Motor, speed: Speed) {
            self[motor as usize] = speed.as_thousandths();
        }
    }

    #[test]
    fn both_motors_stand_still_from_the_deadline_on() {
        let at = Instant::from_micros;
        for (now, turns) in
            [(999_999, true), (1_000_000, false), (1_000_001, false), (u64::MAX / 2, false)]
        {
            let mut state = State::new([i16::MAX; 2]);
            state.turn(at(0));
            assert_eq!(state.drive, [0; 2]);
            state.outputs = outputs(500, -500, at(1_000_000));
            assert_eq!(state.turn(at(0)), Some(at(1_000_000)));
            assert_eq!(state.drive, [500, -500]);
            assert_eq!(state.turn(at(now)).is_some(), turns);
            assert_eq!(state.drive != [0; 2], turns, "after {now} us");
        }
    }
}
