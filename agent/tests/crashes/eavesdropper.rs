//! Whoever hears everything on the control address, and notices when one state is named twice for different keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use conclave::{Clock, Interface, MulticastSocket};
use crypto::{Ed25519Verifier, PublicKey};
use protocol::{Alarm, Budget, DatagramKind, Envelope, Inst, Malformed, Reader, StateId, Takeover, Term};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The longest datagram, and one byte more.
const BUFFER: usize = 65_536;
/// An Ed25519 signature and the MAC after it, at the end of a key update packet.
const SIGNATURE: usize = 64;
const MAC: usize = 8;

/// Listens until it is finished.
pub(crate) struct Eavesdropper {
    heard: Arc<Mutex<Heard>>,
    /// The newest term of which there was an alarm.
    newest: watch::Receiver<Option<Term>>,
    task: JoinHandle<()>,
}

/// What was heard.
#[derive(Clone, Default, Debug)]
pub(crate) struct Heard {
    states: BTreeMap<StateId, Named>,
    insts: BTreeMap<Term, BTreeSet<Inst>>,
    newest: Option<Term>,
    /// The first alarm of each term, and when it came.
    first: BTreeMap<Term, (Instant, Vec<u8>)>,
    /// The signing keys of those who took over.
    keys: BTreeMap<Term, PublicKey>,
    datagrams: u64,
    /// What must not have been heard.
    pub(crate) faults: BTreeSet<String>,
}

/// Under what a state was named.
#[derive(Clone, Default, Debug)]
struct Named {
    key_checks: BTreeSet<[u8; 8]>,
    /// The Merkle root of its key update, from alarms.
    roots: BTreeSet<[u8; 16]>,
    /// The signature over that root and the number of packets, from the packets: Ed25519 signs the same the same way.
    signatures: BTreeSet<[u8; SIGNATURE]>,
}

impl Named {
    fn differs(&self) -> bool {
        self.key_checks.len() > 1 || self.roots.len() > 1 || self.signatures.len() > 1
    }
}

impl Eavesdropper {
    /// Listens where a manager's status says it multicasts.
    pub(crate) fn start(status: &Value) -> Self {
        let control = status["control_address"].as_str().unwrap().parse().unwrap();
        let group = status["group_id"].as_str().unwrap().to_owned();
        let socket = MulticastSocket::join(control, &Interface::resolve("lo").unwrap()).unwrap();
        let heard = Arc::<Mutex<Heard>>::default();
        let notes = Arc::clone(&heard);
        let (told, newest) = watch::channel(None);
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; BUFFER];
            loop {
                let (len, from) = socket.recv(&mut buffer).await.unwrap();
                let datagram = &buffer[..len];
                let of_group =
                    Envelope::parse(datagram).ok().filter(|of| of.domain.group.to_string() == group);
                if let Some(envelope) = of_group {
                    let mut heard = notes.lock().unwrap();
                    heard.note(&envelope, datagram, from);
                    let term = heard.first.last_key_value().map(|(term, _)| *term);
                    told.send_if_modified(|newest| std::mem::replace(newest, term) != term);
                }
            }
        });
        Self { heard, newest, task }
    }

    /// Waits for an alarm of a later term than this, by somebody who took over. Returns when the first one came.
    pub(crate) async fn first_alarm_after(&self, term: u32) -> Instant {
        let mut newest = self.newest.clone();
        newest.wait_for(|newest| *newest > Some(Term(term))).await.unwrap();
        let heard = self.heard.lock().unwrap();
        let later = heard.first.range(Term(term + 1)..).next();
        let (term, (at, alarm)) = later.expect("it was waited for");
        let key = heard.keys.get(term).expect("a takeover comes before its alarms");
        let domain = Envelope::parse(alarm).unwrap().domain;
        let mut budget = Budget::new(1, 1);
        let verified = Alarm::verify(alarm, &domain, key, &Ed25519Verifier, (Clock.now(), &mut budget));
        verified.unwrap_or_else(|error| panic!("the first alarm of {term:?}: {error}"));
        *at
    }

    pub(crate) fn finish(self) -> Heard {
        self.task.abort();
        let heard = self.heard.lock().unwrap().clone();
        assert!(heard.datagrams > 0, "it heard nothing");
        heard
    }
}

impl Heard {
    fn note(&mut self, envelope: &Envelope, datagram: &[u8], from: SocketAddr) {
        self.datagrams += 1;
        let kind = envelope.kind;
        let noted = match kind {
            DatagramKind::Alarm => self.alarm(datagram, from),
            DatagramKind::KeyUpdate => self.key_update(datagram, from),
            DatagramKind::Takeover => {
                if let Ok(takeover) = Takeover::claimed(&envelope.domain, datagram) {
                    self.keys.entry(takeover.office.start.term).or_insert(takeover.office.key);
                }
                Ok(())
            }
            _ => Ok(()),
        };
        noted.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    }

    fn alarm(&mut self, datagram: &[u8], from: SocketAddr) -> Result<(), Malformed> {
        let mut reader = Reader::new(datagram);
        reader.take(Envelope::LEN)?;
        let state = reader.state()?;
        let (_counter, _journal) = (reader.u64()?, reader.u64()?);
        let (_root, _height, _steps) = (reader.version()?, reader.u8()?, reader.u16()?);
        let key_check = reader.array()?;
        let (_hard, _activation) = (reader.bool()?, reader.u16()?);
        let root: [u8; 16] = reader.array()?;
        self.first.entry(state.term).or_insert_with(|| (Instant::now(), datagram.to_vec()));
        let named = self.sight(state, DatagramKind::Alarm, from);
        named.key_checks.insert(key_check);
        // All zero while there was no key update.
        named.roots.extend((root != [0; 16]).then_some(root));
        self.judge(state);
        Ok(())
    }

    fn key_update(&mut self, datagram: &[u8], from: SocketAddr) -> Result<(), Malformed> {
        let mut reader = Reader::new(datagram);
        reader.take(Envelope::LEN)?;
        let (_scheme, _strategy) = (reader.u8()?, reader.u8()?);
        let (state, _previous) = (reader.state()?, reader.epoch()?);
        let (_index, _data, _block, _parity) = (reader.u16()?, reader.u16()?, reader.u8()?, reader.u8()?);
        let (_first, _last, _height) = (reader.reg_no()?, reader.reg_no()?, reader.u8()?);
        let (_root, _steps, _hard, _activation) =
            (reader.version()?, reader.u16()?, reader.bool()?, reader.u16()?);
        let key_check = reader.array()?;
        let end = datagram.len() - MAC;
        let signature = Reader::new(&datagram[end - SIGNATURE..end]).array()?;
        let named = self.sight(state, DatagramKind::KeyUpdate, from);
        named.key_checks.insert(key_check);
        named.signatures.insert(signature);
        self.judge(state);
        Ok(())
    }

    fn sight(&mut self, state: StateId, kind: DatagramKind, from: SocketAddr) -> &mut Named {
        if self.newest > Some(state.term) {
            self.faults.insert(format!("{kind:?} of {state:?} from {from} after term {:?}", self.newest));
        }
        self.newest = self.newest.max(Some(state.term));
        self.insts.entry(state.term).or_default().insert(state.inst);
        self.states.entry(state).or_default()
    }

    fn judge(&mut self, state: StateId) {
        if self.states[&state].differs() {
            self.faults.insert(format!("{state:?} twice: {:?}", self.states[&state]));
        }
        if self.insts[&state.term].len() > 1 {
            self.faults.insert(format!("{:?} belongs to two starts", state.term));
        }
    }

    pub(crate) fn print(&self) {
        println!("starts_heard {}", self.insts.len());
        println!("states_heard {}", self.states.len());
        let twice = self.states.values().filter(|named| named.differs()).count();
        let terms = self.insts.values().filter(|insts| insts.len() > 1).count();
        println!("states_used_twice {}", twice + terms);
    }
}
