//! Pictures that are computed, and sent by a chip without a camera.

use crate::board::Port;
use camwire::embassy::EmbassyClock;
use camwire::frame::{Quality, Resolution};
use camwire::pattern::TestSource;
use core::convert::Infallible;

/// It is always there.
pub async fn find(_: &mut Port) -> Result<TestSource<EmbassyClock>, Infallible> {
    Ok(TestSource::new(EmbassyClock, Resolution::QVGA, Quality::new(12).expect("in range")))
}
