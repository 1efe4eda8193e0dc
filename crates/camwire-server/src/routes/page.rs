//! `/`: the page.

use crate::http::response::Answer;

/// The page loads nothing but its own frames and figures, and no other page frames it unasked.
pub(crate) const POLICY: &str = "default-src 'none'; img-src 'self' data:; connect-src 'self'; \
    style-src 'unsafe-inline'; script-src 'unsafe-inline'";

pub(crate) const PAGE: Answer<'_> = Answer {
    status: "200 OK",
    content_type: "text/html; charset=utf-8",
    policy: POLICY,
    fields: "",
    body: include_bytes!("page.html"),
};
