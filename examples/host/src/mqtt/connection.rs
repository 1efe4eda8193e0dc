//! What publishing and receiving have in common: how rumqttc is set up, and how it fails.

use std::io;
use std::time::Duration;

use rumqttc::{
    ConnectReturnCode, ConnectionError, MqttOptions, NetworkOptions, SubscribeReasonCode, mqttbytes,
};

use super::address::Broker;

/// How long to wait for a connection.
pub(crate) const CONNECT_TIMEOUT: u64 = 4;

/// How long one message may take to be sent.
const SEND_TIMEOUT: u64 = 30;

/// After so long without a word the broker is asked whether it is still there; without an answer
/// for as long again it is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Bytes that may wait in the socket, which the system makes twice as many of. What waits there is
/// the delay behind a slow broker.
const SEND_BUFFER: u32 = 64 << 10;

/// Why there is no connection to a broker, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    #[error("cannot connect to the broker {0}: {1}")]
    Connect(String, io::Error),
    #[error("the broker {0} does not answer")]
    Silent(String),
    #[error("the broker {0} does not accept the user or the password")]
    Login(String),
    #[error("the broker {0} refuses the connection: {1:?}")]
    Refused(String, ConnectReturnCode),
    #[error("the broker {0} does not allow to subscribe to the topics")]
    NotAllowed(String),
    #[error("the connection to the broker {0} is lost")]
    Lost(String),
    #[error("the broker {0} sends a message of more than {1} bytes")]
    TooLarge(String, usize),
    #[error("the broker {0}: {1}")]
    Other(String, Box<ConnectionError>),
}

/// Options of a client: a name that no other has, clean sessions, and packets of up to `largest`
/// bytes each way.
pub(crate) fn options(broker: &Broker, incoming: usize, outgoing: usize) -> MqttOptions {
    let name = format!("camwire-{}-{:08x}", std::process::id(), super::random());
    let mut options = MqttOptions::new(name, &broker.host, broker.port);
    options.set_keep_alive(KEEP_ALIVE).set_max_packet_size(incoming, outgoing);
    if let Some(login) = &broker.login {
        options.set_credentials(&login.user, &login.password);
    }
    options
}

/// How its sockets are set up, while it connects and after that.
pub(crate) fn network(connected: bool) -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_tcp_send_buffer_size(SEND_BUFFER);
    network.set_connection_timeout(if connected { SEND_TIMEOUT } else { CONNECT_TIMEOUT });
    network
}

/// What it means that the connection has failed.
pub(crate) fn ended(broker: &Broker, connected: bool, error: ConnectionError) -> BrokerError {
    use rumqttc::StateError;
    let name = broker.to_string();
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => BrokerError::Login(name),
        ConnectionError::ConnectionRefused(code) => BrokerError::Refused(name, code),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            BrokerError::Silent(name)
        }
        ConnectionError::Io(error) if !connected => BrokerError::Connect(name, error),
        ConnectionError::MqttState(StateError::Deserialization(
            mqttbytes::Error::PayloadSizeLimitExceeded(bytes),
        )) => BrokerError::TooLarge(name, bytes),
        ConnectionError::Io(_)
        | ConnectionError::MqttState(
            StateError::ConnectionAborted
            | StateError::Io(_)
            | StateError::AwaitPingResp
            | StateError::Deserialization(mqttbytes::Error::Io(_)),
        ) => BrokerError::Lost(name),
        other => BrokerError::Other(name, Box::new(other)),
    }
}

/// Whether the broker has refused all subscriptions that it answers here.
pub(crate) fn refuses(codes: &[SubscribeReasonCode]) -> bool {
    codes.iter().all(|code| *code == SubscribeReasonCode::Failure)
}
