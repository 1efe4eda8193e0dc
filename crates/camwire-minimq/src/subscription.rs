use core::iter::Peekable;

use camwire_mqtt::{CameraSession, Topic};
use embedded_io_async::{Read, Write};
use heapless::{String, Vec};
use minimq::{Connection, Error, Op, TopicFilter};

/// Filters in one SUBSCRIBE packet, at most.
const AT_ONCE: usize = CameraSession::FILTERS_AT_ONCE;
/// Bytes of their topics: all eight of a usual length, or three of the longest.
const FILTER_BYTES: usize = 512;

/// How much of the topics of commands the broker sends already.
pub(crate) struct Subscription<I: Iterator> {
    /// The filters that are not sent yet.
    left: Peekable<I>,
    /// So many of them in a packet.
    at_once: usize,
    sent: Option<Op>,
}

impl<'t, I: Iterator<Item = Topic<'t>> + Clone> Subscription<I> {
    pub(crate) fn new(filters: I) -> Self {
        Self { left: filters.peekable(), at_once: AT_ONCE, sent: None }
    }

    /// Whether the broker has not confirmed the last filters yet.
    pub(crate) fn is_pending<T: Read + Write>(&self, connection: &Connection<'_, '_, T>) -> bool {
        self.sent.is_some_and(|sent| connection.is_pending(&sent))
    }

    /// Whether all are sent.
    pub(crate) fn is_complete(&mut self) -> bool {
        self.left.peek().is_none()
    }

    /// Sends the next filters.
    pub(crate) async fn send<T: Read + Write>(
        &mut self,
        connection: &mut Connection<'_, '_, T>,
    ) -> Result<(), Error<T::Error>> {
        loop {
            let mut left = self.left.clone();
            let mut topics = String::<FILTER_BYTES>::new();
            let mut ends = Vec::<usize, AT_ONCE>::new();
            while ends.len() < self.at_once
                && let Some(topic) = left.peek()
                && topics.push_str(topic.encode(&mut [0; Topic::MAX_LEN])).is_ok()
            {
                let _ = ends.push(topics.len()); // There is room.
                left.next();
            }
            let mut filters = Vec::<TopicFilter<'_>, AT_ONCE>::new();
            let mut start = 0;
            for end in ends {
                let topic = topics.get(start..end).unwrap_or_default();
                let _ = filters.push(TopicFilter::new(topic)); // As many as there are ends.
                start = end;
            }
            match connection.subscribe(&filters, &[]).await {
                Ok(sent) => {
                    (self.left, self.sent) = (left, Some(sent));
                    return Ok(());
                }
                // There is less memory for packets, or the broker takes smaller ones.
                Err(error) if crate::client::is_local(&error) && filters.len() > 1 => {
                    self.at_once = filters.len() / 2;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
