//! Receives the head of a request.

use camwire_frame::Clock;
use embassy_futures::select::{Either, select};
use embedded_io_async::Read;

use crate::config::Config;
use crate::http::access::Access;
use crate::http::body::BodyFields;
use crate::http::head::{HeadError, HeadReader, RequestLine};
use crate::http::upgrade::{Upgrade, Upgraded};
use crate::sender::Disconnect;

/// What the fields of a request say.
#[derive(Debug)]
pub(crate) struct Fields<'c> {
    pub(crate) upgraded: Upgraded,
    pub(crate) access: Access<'c>,
    pub(crate) body: BodyFields,
}

/// Reads the head of a request; its line goes to `line`, and what came behind the head, too. The outer error is the connection's, the
/// inner one the request's.
pub(crate) async fn receive_head<'c, R: Read>(
    read: &mut R,
    clock: &impl Clock,
    (config, mut access): (&'c Config, Access<'c>),
    protocols: &'static [&'static str],
    line: &mut RequestLine,
) -> Result<Result<Fields<'c>, HeadError>, Disconnect<R::Error>> {
    let deadline = clock.now() + config.head_timeout;
    let mut head = HeadReader::new(line);
    let mut upgrade = Upgrade::new(config, protocols);
    let mut body = BodyFields::new();
    let mut buffer = [0; 128];
    loop {
        // No more than can be kept of the body.
        let room = buffer.len().min(head.room());
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let count = match select(read.read(buffer), clock.deadline(deadline)).await {
            Either::First(count) => count?,
            Either::Second(()) => return Err(Disconnect::NoRequest),
        };
        let input = buffer.get(..count).unwrap_or_default();
        if input.is_empty() {
            return Err(Disconnect::Closed);
        }
        let mut field = |name: &[u8], value: &[u8]| {
            upgrade.field(name, value);
            access.field(name, value);
            body.field(name, value);
        };
        match head.feed(input, &mut field) {
            Ok(None) => {}
            Ok(Some(used)) => {
                let early = input.get(used..).unwrap_or_default();
                let upgraded = upgrade.finish(line.as_bytes(), early.len());
                line.keep_early(early);
                return Ok(Ok(Fields { upgraded, access, body }));
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}
