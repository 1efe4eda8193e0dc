use core::time::Duration;

use camwire_frame::Instant;

/// One of the two motors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Motor {
    /// `motor/speed/a`
    A,
    /// `motor/speed/b`
    B,
}

/// Speed of a motor, from full speed backwards to full speed forwards, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Speed(i16);

impl Speed {
    /// It does not turn.
    pub const STOP: Self = Self(0);

    /// So many thousandths of the full speed; `None` unless it is from -1000 to 1000.
    #[must_use]
    pub const fn from_thousandths(thousandths: i16) -> Option<Self> {
        if -1000 <= thousandths && thousandths <= 1000 { Some(Self(thousandths)) } else { None }
    }

    /// Thousandths of the full speed; negative is backwards.
    #[must_use]
    pub const fn as_thousandths(self) -> i16 {
        self.0
    }

    /// For how many of 8192 parts of the time the driver is on (a PWM of 13 bits), whichever the
    /// direction: 0 to 8191, as on the existing camera.
    #[must_use]
    pub const fn duty(self) -> u16 {
        // 8191.5 times the speed, cut off. At most 8,191,500.
        ((self.0.unsigned_abs() as u32).wrapping_mul(16_383) / 2000) as u16
    }
}

/// What two motors are to do: see [`MotorWatchdog::outputs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// How fast A and B are to turn.
    pub speeds: [Speed; 2],
    /// When they are to stop if no heartbeat comes; `None` if both stand still.
    pub until: Option<Instant>,
}

/// No heartbeat has come within the last second, so the motors stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no heartbeat, so the motors stand still")]
pub struct NoHeartbeatError;

/// Two motors and their watchdog: they stop a second after the last heartbeat, and they do not
/// start again by themselves.
///
/// A speed is applied while heartbeats come, and forgotten when they stop. So the driver sends the
/// first heartbeat before the first speed, and then some each second.
///
/// It has no clock and turns nothing: the caller gives both motors the speeds of
/// [`outputs`](Self::outputs) after **each** call of [`heartbeat`](Self::heartbeat) and
/// [`set`](Self::set), whatever they return, and again when [`Outputs::until`] has come. A
/// heartbeat that is late stops both motors, and so does a late speed for one of them.
///
/// ```
/// use camwire_frame::Instant;
/// use camwire_mqtt::{Motor, MotorWatchdog, NoHeartbeatError, Outputs, Speed};
///
/// let ms = |ms: u64| Instant::from_micros(ms * 1000);
/// let half = Speed::from_thousandths(500).expect("in range");
/// let mut motors = MotorWatchdog::new();
/// assert_eq!(motors.set(Motor::A, half, ms(0)), Err(NoHeartbeatError));
///
/// motors.heartbeat(ms(100));
/// motors.set(Motor::A, half, ms(200))?;
/// let turning = Outputs { speeds: [half, Speed::STOP], until: Some(ms(1100)) };
/// assert_eq!(motors.outputs(ms(1099)), turning);
/// let standing = Outputs { speeds: [Speed::STOP; 2], until: None };
/// assert_eq!(motors.outputs(ms(1100)), standing);
///
/// motors.heartbeat(ms(1100)); // too late: it has to be told again
/// assert_eq!(motors.outputs(ms(1100)), standing);
/// # Ok::<(), NoHeartbeatError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MotorWatchdog {
    speeds: [Speed; 2],
    /// When the last heartbeat is too old.
    until: Option<Instant>,
}

impl MotorWatchdog {
    /// How long the motors turn after a heartbeat: 1 s.
    pub const TIMEOUT: Duration = Duration::from_secs(1);

    /// They stand still.
    #[must_use]
    pub const fn new() -> Self {
        Self { speeds: [Speed::STOP; 2], until: None }
    }

    /// Somebody is there. If the last heartbeat is too old, both motors stop.
    pub fn heartbeat(&mut self, now: Instant) {
        if !self.is_alive(now) {
            self.speeds = [Speed::STOP; 2];
        }
        self.until = Some(now + Self::TIMEOUT);
    }

    /// Sets the speed of a motor. If the last heartbeat is too old, both motors stop.
    ///
    /// # Errors
    ///
    /// [`NoHeartbeatError`] if none has come within the last second. To stop is always allowed.
    pub fn set(
        &mut self,
        motor: Motor,
        speed: Speed,
        now: Instant,
    ) -> Result<(), NoHeartbeatError> {
        if !self.is_alive(now) {
            self.speeds = [Speed::STOP; 2];
            if speed != Speed::STOP {
                return Err(NoHeartbeatError);
            }
        }
        let [a, b] = &mut self.speeds;
        match motor {
            Motor::A => *a = speed,
            Motor::B => *b = speed,
        }
        Ok(())
    }

    /// What both motors are to do now.
    #[must_use]
    pub fn outputs(&self, now: Instant) -> Outputs {
        let speeds = if self.is_alive(now) { self.speeds } else { [Speed::STOP; 2] };
        Outputs { speeds, until: self.until.filter(|_| speeds != [Speed::STOP; 2]) }
    }

    fn is_alive(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_duty_is_that_of_the_existing_camera() {
        for thousandths in -1000..=1000i16 {
            let speed = Speed::from_thousandths(thousandths).unwrap();
            let theirs =
                (f64::from(thousandths.abs()) / 1000.0 * 16_383.0 / 2.0).clamp(0.0, 8191.0);
            assert!((f64::from(speed.duty()) - theirs).abs() < 1.0, "{thousandths}");
        }
        assert_eq!(Speed::from_thousandths(-1000).unwrap().duty(), 8191);
        assert_eq!((Speed::from_thousandths(1001), Speed::from_thousandths(-1001)), (None, None));
    }

    #[test]
    fn to_stop_is_always_allowed() {
        let mut motors = MotorWatchdog::new();
        assert_eq!(motors.set(Motor::B, Speed::STOP, Instant::ZERO), Ok(()));
        let standing = Outputs { speeds: [Speed::STOP; 2], until: None };
        assert_eq!(motors.outputs(Instant::ZERO), standing);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// A list of all commands, read from the start for each question.
        #[test]
        fn like_the_whole_history(
            steps in proptest::collection::vec((0u64..14, 0u8..3, -1000i16..=1000), 0..40),
        ) {
            let mut motors = MotorWatchdog::new();
            let mut history = std::vec::Vec::new();
            let mut ms = 0;
            for (wait, what, value) in steps {
                ms += wait * 50; // So a second is often over exactly.
                let now = Instant::from_micros(ms * 1000);
                let speed = Speed::from_thousandths(value).unwrap();
                let alive = |at: u64, history: &[(u64, u8, i16)]| {
                    history.iter().any(|&(t, what, _)| what == 0 && t <= at && at - t < 1000)
                };
                match what {
                    0 => motors.heartbeat(now),
                    n => {
                        let motor = if n == 1 { Motor::A } else { Motor::B };
                        let obeyed = motors.set(motor, speed, now).is_ok();
                        prop_assert_eq!(obeyed, alive(ms, &history) || value == 0);
                    }
                }
                history.push((ms, what, value));
                let outputs = motors.outputs(now);
                for (n, told) in [1, 2].into_iter().zip(outputs.speeds) {
                    // The last speed that was obeyed, if heartbeats have come all the time since.
                    let last = history.iter().rposition(|&(_, what, _)| what == n);
                    let expected = last.map_or(0, |at| {
                        let (since, _, value) = history[at];
                        let before = &history[..at];
                        let always = alive(since, before)
                            && alive(ms, &history)
                            && (at..history.len()).all(|n| alive(history[n].0, &history[..n]));
                        if always { value } else { 0 }
                    });
                    prop_assert_eq!(told.as_thousandths(), expected);
                }
                // Who does what is told now, and looks again at that time, is never wrong.
                let standing = Outputs { speeds: [Speed::STOP; 2], until: None };
                let last_beat = history.iter().rfind(|&&(_, what, _)| what == 0);
                let until = last_beat.map(|(t, ..)| Instant::from_micros((t + 1000) * 1000));
                prop_assert_eq!(outputs.until, until.filter(|_| outputs.speeds != standing.speeds));
                if let Some(until) = outputs.until {
                    let before = Instant::from_micros(until.as_micros() - 1);
                    prop_assert_eq!(motors.outputs(before), outputs);
                    prop_assert_eq!(motors.outputs(until), standing);
                }
            }
        }
    }
}
