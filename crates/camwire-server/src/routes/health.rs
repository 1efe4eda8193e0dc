//! `/healthz`: whether viewers that want frames get them.

use camwire_frame::Clock;

use crate::http::response::{Answer, ResponseWriter};
use crate::hub::Hub;
use crate::sender::Disconnect;
use crate::transport::WriteVectored;

pub(crate) async fn health<W: WriteVectored, C: Clock>(
    hub: &Hub<'_, C>,
    out: &mut ResponseWriter<'_, W, C>,
) -> Result<(), Disconnect<W::Error>> {
    let (status, body): (_, &[u8]) = if hub.is_healthy() {
        ("200 OK", b"ok\n")
    } else {
        ("503 Service Unavailable", b"frames are wanted and none come\n")
    };
    out.answer(&Answer { status, body, ..Answer::default() }).await
}
