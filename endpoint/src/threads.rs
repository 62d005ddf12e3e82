//! The runtimes of a process: one for machines, two for TLS, one for data, so that none waits for another.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// The runtimes that all nodes of a process share.
///
/// Machines and their sockets have a thread of their own, so alarms never wait for TLS handshakes and a slow
/// application never costs an alarm. Made once by the program; nodes stop before it is dropped.
#[derive(Debug)]
pub struct Threads {
    control: Option<Runtime>,
    tls: Option<Runtime>,
    links: Option<Runtime>,
    data: Option<Runtime>,
}

impl Threads {
    /// Starts the four threads.
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            control: Some(one_thread("conclave-control")?),
            tls: Some(one_thread("conclave-tls")?),
            links: Some(one_thread("conclave-links")?),
            data: Some(one_thread("conclave-data")?),
        })
    }

    /// Where machines run.
    pub(crate) fn control(&self) -> Handle {
        handle(self.control.as_ref())
    }

    /// Where the listener, its handshakes and registrations run.
    pub(crate) fn tls(&self) -> Handle {
        handle(self.tls.as_ref())
    }

    /// Where connections run that this node opens, and those that last: no stranger's handshake delays them.
    pub(crate) fn links(&self) -> Handle {
        handle(self.links.as_ref())
    }

    /// Where data packets are opened.
    pub(crate) fn data(&self) -> Handle {
        handle(self.data.as_ref())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // In the background, because a program may drop this within its own runtime, where blocking is an error.
        [self.control.take(), self.tls.take(), self.links.take(), self.data.take()]
            .into_iter()
            .flatten()
            .for_each(Runtime::shutdown_background);
    }
}

fn one_thread(name: &str) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()
}

fn handle(runtime: Option<&Runtime>) -> Handle {
    runtime.expect("invariant: a runtime is only taken when it is dropped").handle().clone()
}
