use camwire_frame::{Setting, SettingName};

/// Settings that wait for the source: of each name the newest, in the order in which they came.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    /// With the place of the topic among the filters. There is one place for each name.
    waiting: [Option<(u8, Setting)>; SettingName::ALL.len()],
    /// The topic of the one that the source is at.
    current: Option<u8>,
}

impl Requests {
    pub(super) const fn new() -> Self {
        Self { waiting: [None; SettingName::ALL.len()], current: None }
    }

    pub(super) fn push(&mut self, topic: u8, setting: Setting) {
        let name = setting.name();
        let is_older = |place: &Option<(u8, Setting)>| place.is_some_and(|(_, s)| s.name() == name);
        let mut kept = [None; SettingName::ALL.len()];
        let others = self.waiting.iter().filter(|place| place.is_some() && !is_older(place));
        // The others have other names, of which there are fewer than places.
        let new = [Some((topic, setting))];
        for (place, request) in kept.iter_mut().zip(others.chain(&new)) {
            *place = *request;
        }
        self.waiting = kept;
    }

    /// The next, unless the source is at one.
    pub(super) fn next(&mut self) -> Option<Setting> {
        if self.current.is_some() {
            return None;
        }
        let (topic, setting) = self.waiting.first_mut()?.take()?;
        self.waiting.rotate_left(1);
        self.current = Some(topic);
        Some(setting)
    }

    /// The source is ready for another. Returns the topic of the last one.
    pub(super) fn finish(&mut self) -> Option<u8> {
        self.current.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// A list that is searched from the start.
        #[test]
        fn newest_of_each_name_waits(steps in proptest::collection::vec((0u8..40, any::<bool>()), 0..200)) {
            let mut requests = Requests::new();
            let mut naive: Vec<(u8, Setting)> = Vec::new();
            let mut current = None;
            for (n, take) in steps {
                if take {
                    let next = (current.is_none() && !naive.is_empty()).then(|| naive.remove(0));
                    prop_assert_eq!(requests.next(), next.map(|(_, setting)| setting));
                    current = current.or(next.map(|(topic, _)| topic));
                    if n % 2 == 0 {
                        prop_assert_eq!(requests.finish(), current.take());
                    }
                } else {
                    let name = SettingName::ALL[usize::from(n) % SettingName::ALL.len()];
                    let setting = name.with_number(name.range().0).unwrap();
                    naive.retain(|(_, other)| other.name() != name);
                    naive.push((n, setting));
                    requests.push(n, setting);
                }
            }
        }
    }
}
