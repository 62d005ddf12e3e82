//! Requests that last: events, sending, receiving.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use conclave::{Message, SendError};
use futures_util::future::ready;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;

use super::caller::{Fault, Of, Within};
use super::reply::{Received, Sent};
use super::report::hex;
use crate::daemon::{Daemon, RunningGroup};

type Shared = State<Arc<Daemon>>;

/// How `recv` answers.
#[derive(Deserialize)]
pub(super) struct RecvOptions {
    /// JSON lines instead of frames.
    #[serde(default)]
    json: bool,
}

pub(super) async fn events(State(daemon): Shared, Within(group): Within) -> Response {
    let happenings = follow(daemon.happenings.subscribe(), daemon.stop.clone());
    let lines = happenings.try_filter_map(move |happening| {
        let wanted = group.as_ref().is_none_or(|group| *group == happening.group);
        ready(Ok(wanted.then(|| json_line(&*happening))))
    });
    ([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response()
}

pub(super) async fn recv(
    State(daemon): Shared,
    Of(group): Of,
    Query(options): Query<RecvOptions>,
) -> Response {
    let messages = follow(group.messages.subscribe(), daemon.stop.clone());
    if options.json {
        let lines = messages.map_ok(|message| json_line(&received(&message)));
        ([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response()
    } else {
        let frames = messages.map_ok(|message| frame(&message.payload));
        ([(CONTENT_TYPE, "application/octet-stream")], Body::from_stream(frames)).into_response()
    }
}

pub(super) async fn send(
    State(daemon): Shared,
    group: Result<Of, Fault>,
    body: Body,
) -> Result<Json<Sent>, Fault> {
    let mut bytes = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let stop = daemon.stop.clone().cancelled_owned();
    let sent = match group {
        Ok(Of(group)) => tokio::select! {
            sent = forward(&group, &mut bytes) => sent,
            () = stop => Err(Fault::gone("the daemon ends")),
        },
        Err(fault) => Err(fault),
    };
    if sent.is_err() {
        // Who still writes must be able to, or it finds a broken pipe and not the reason.
        let stop = daemon.stop.clone().cancelled_owned();
        tokio::spawn(async move {
            let mut nowhere = tokio::io::sink();
            tokio::select! {
                _ = tokio::io::copy(&mut bytes, &mut nowhere) => {}
                () = stop => {}
            }
        });
    }
    sent.map(Json)
}

async fn forward(group: &RunningGroup, bytes: impl AsyncRead + Unpin) -> Result<Sent, Fault> {
    let codec = LengthDelimitedCodec::builder().max_frame_length(data::MAX_PAYLOAD).new_codec();
    let mut frames = FramedRead::new(bytes, codec);
    let mut sent = Sent::default();
    while let Some(frame) = frames.next().await {
        let payload = frame.map_err(|error| {
            let (number, limit) = (sent.packets + 1, data::MAX_PAYLOAD);
            Fault::bad(format!("message {number}: {error} ({limit} bytes fit)"))
        })?;
        group.node.send(&payload).await.map_err(|error| unsent(sent, error))?;
        sent.packets += 1;
        sent.bytes += payload.len() as u64;
    }
    Ok(sent)
}

fn unsent(sent: Sent, error: SendError) -> Fault {
    let text = format!("message {} was not sent: {error}", sent.packets + 1);
    match error {
        SendError::TooLong { .. } => Fault::bad(text),
        SendError::Stopped(_) => Fault::gone(text),
        _ => Fault::conflict(text),
    }
}

/// What a channel brings, until the daemon stops. A reader that falls behind is cut off, with an error that breaks the
/// stream visibly: it is not waited for, and a gap is not passed over in silence.
fn follow<T: Clone + Send + 'static>(
    channel: broadcast::Receiver<T>,
    stop: CancellationToken,
) -> impl Stream<Item = Result<T, io::Error>> + Send + 'static {
    stream::unfold(Some(channel), move |channel| {
        let stop = stop.clone();
        async move {
            let mut channel = channel?;
            let next = tokio::select! {
                biased;
                next = channel.recv() => next,
                () = stop.cancelled() => return None,
            };
            match next {
                Ok(item) => Some((Ok(item), Some(channel))),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(target: "conclave", missed, "reader.too_slow");
                    Some((Err(io::Error::other("the reader fell behind")), None))
                }
                Err(RecvError::Closed) => None,
            }
        }
    })
}

fn json_line(value: &impl Serialize) -> Bytes {
    let mut line = BytesMut::new();
    let written = serde_json::to_writer((&mut line).writer(), value);
    written.expect("invariant: plain structs with text keys always serialize");
    line.put_u8(b'\n');
    line.freeze()
}

fn frame(payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(4 + payload.len());
    bytes.put_u32(u32::try_from(payload.len()).expect("invariant: a payload fits a datagram"));
    bytes.put_slice(payload);
    bytes.freeze()
}

fn received(message: &Message) -> Received {
    let text = str::from_utf8(&message.payload).ok().map(str::to_owned);
    Received {
        sender: message.sender.to_string(),
        stream: format!("{:016x}", message.stream.0),
        sequence: message.sequence,
        term: message.state.term.0,
        epoch: message.state.epoch.0,
        bytes: message.payload.len() as u64,
        hex: text.is_none().then(|| hex(&message.payload)),
        text,
    }
}
