//! The operator's end of the control socket.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::control::Refused;
use crate::failure::Failure;

/// The largest answer that is not a stream: the list of a million members would still fit.
const MAX_ANSWER: usize = 1 << 30;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A way to the daemon behind a socket. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    group: Option<String>,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), group: None }
    }

    /// The same, for requests about this group.
    pub(crate) fn about(self, group: Option<String>) -> Self {
        Self { group, ..self }
    }

    /// Asks for something, and reads the answer.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        read(self.request(Method::GET, path, empty()).await?).await
    }

    /// Has something done, and reads the answer.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        what: &impl Serialize,
    ) -> Result<T, Failure> {
        let json = serde_json::to_vec(what).map_err(Failure::because)?;
        read(self.request(Method::POST, path, whole(json)).await?).await
    }

    /// Sends a stream of bytes, and reads the answer.
    pub(crate) async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        bytes: impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static,
    ) -> Result<T, Failure> {
        let body = StreamBody::new(bytes.map_ok(Frame::data)).boxed_unsync();
        read(self.request(Method::POST, path, body).await?).await
    }

    /// Asks for a stream. It ends with the daemon.
    pub(crate) async fn stream(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Unpin + use<>, Failure> {
        let response = self.request(Method::GET, path, empty()).await?;
        Ok(response.into_body().into_data_stream().map_err(|_| {
            io::Error::other("the daemon broke it off: it ended, or this reader was too slow for it")
        }))
    }

    /// The path with the group's name in its query.
    fn target(&self, path: &str) -> String {
        let Some(group) = &self.group else { return path.to_owned() };
        let mut target = format!("{path}{}group=", if path.contains('?') { '&' } else { '?' });
        for byte in group.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    target.push(char::from(byte))
                }
                other => target.push_str(&format!("%{other:02X}")),
            }
        }
        target
    }

    async fn request(&self, method: Method, path: &str, body: Body) -> Result<Response<Incoming>, Failure> {
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::Unreachable(format!(
                "no daemon answers on {}: {error} (is `conclave run` running? else give --socket)",
                self.socket.display()
            ))
        };
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| unreachable(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        // Ends with the response's body; an error of it shows there.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(self.target(path))
            .header(HOST, "conclave")
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(Failure::because)?;
        let response = sender.send_request(request).await.map_err(|error| match error.source() {
            // What we were sending could not be read.
            Some(source) if error.is_user() => Failure::because(source),
            _ => unreachable(&error),
        })?;
        if response.status() == StatusCode::OK { Ok(response) } else { Err(refused(response).await) }
    }
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Failure> {
    let bytes = collect(response).await.map_err(Failure::Failed)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::Failed(format!("the daemon's answer is not understood: {error}")))
}

async fn refused(response: Response<Incoming>) -> Failure {
    let status = response.status();
    let bytes = collect(response).await.unwrap_or_default();
    let text = match serde_json::from_slice::<Refused>(&bytes) {
        Ok(refused) => refused.error,
        Err(_) => format!("the daemon answered {status}: {}", String::from_utf8_lossy(&bytes)),
    };
    match status {
        StatusCode::NOT_FOUND => Failure::Usage(text),
        _ => Failure::Failed(text),
    }
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, String> {
    let limited = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
    let collected =
        limited.collect().await.map_err(|error| format!("the daemon broke off its answer: {error}"))?;
    Ok(collected.to_bytes())
}

fn empty() -> Body {
    whole(Vec::new())
}

fn whole(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_of_a_group_fits_a_query() {
        let client = Client::new(Path::new("x")).about(Some("a&b c/\u{e4}".to_owned()));
        assert_eq!(client.target("/v1/status"), "/v1/status?group=a%26b%20c%2F%C3%A4");
        assert_eq!(client.target("/v1/recv?json=true"), "/v1/recv?json=true&group=a%26b%20c%2F%C3%A4");
        assert_eq!(client.about(None).target("/v1/status"), "/v1/status");
    }
}
