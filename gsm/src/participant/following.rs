//! A member node that may manage follows its manager beside its membership; see [`Standby`](crate::standby::Standby).

use member::{Following, Member};
use protocol::{Commit, ConnId, Frame, Input, Instant, Lane, Rejected, Revocation, Role, Transmit};

use super::inner::Inner;
use super::{ManagerConfig, Part, Participant};
use crate::standby::Request;

impl Participant {
    /// What the member half knows of its manager, if this node may take that one's place: it is eligible, it shall manage
    /// where that is needed, and what it would record as manager becomes durable.
    pub(super) fn follows(&self) -> Option<Following<'_>> {
        let may =
            self.eligible.is_some() && self.config.part != Part::Member && !self.store_failed && !self.left;
        self.member().filter(|_| may).and_then(|member| member.following())
    }

    /// The newest record of its manager's journal that this node holds as a standby; `None` while it is none.
    pub fn followed(&self) -> Option<Commit> {
        self.standby.followed()
    }

    /// Begins, goes on with or ends following, as the newest alarm says.
    pub(super) fn tend_standby(&mut self, now: Instant) {
        let Self { standby, inner, config, eligible, store_failed, left, .. } = self;
        let Inner::Member(member) = inner else { return };
        let may = eligible.is_some() && config.part != Part::Member && !*store_failed && !*left;
        let following = member.following().filter(|_| may);
        let (close, to) = standby.tend(now, following.as_ref());
        self.transmits.extend(close);
        if let Some(to) = to.filter(|_| !eligible.as_ref().is_some_and(|own| own.is_shut_out(member))) {
            let conn = member.reserve_conn();
            self.transmits.push_back(Transmit::Open { conn, to, expect: Role::Manager });
            self.standby.connecting(now, conn);
        }
    }

    /// Inputs of the connection to the manager that is followed.
    pub(super) fn for_standby(&mut self, now: Instant, input: &Input<'_>) -> Option<Result<(), Rejected>> {
        match input {
            Input::Opened { conn, peer } if self.standby.is_on(*conn) => {
                let shut_out =
                    self.member().is_none_or(|member| is_revoked(member, &peer.identity, &peer.certificate));
                let group = self.config.member.group;
                let asks = self.standby.on_opened(now, peer.clone(), shut_out, group);
                Some(asks.map(|transmit| self.transmits.push_back(transmit)))
            }
            Input::Frame { conn, bytes } if self.standby.is_on(*conn) => {
                Some(self.on_standby_frame(now, *conn, bytes))
            }
            Input::Closed { conn, .. } if self.standby.is_on(*conn) => {
                self.standby.on_closed(now);
                self.on_manager_gone(now);
                Some(Ok(()))
            }
            Input::Datagram { lane: Lane::Control, bytes, .. } if self.warrants(bytes) => {
                Some(self.on_warrant(now, bytes.to_vec()))
            }
            _ => None,
        }
    }

    fn on_standby_frame(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) -> Result<(), Rejected> {
        let Self { standby, inner: Inner::Member(member), .. } = self else {
            return Err(Rejected::NotForUs);
        };
        let taken = match member.following() {
            Some(following) => standby.on_frame(now, bytes, &following),
            None => Err(Rejected::OutOfPlace),
        };
        match taken {
            Ok((answer, request)) => {
                if let Some(frame) = answer {
                    self.answer_manager(conn, &frame);
                }
                match request {
                    Some(Request::TakeOffice) => self.prepare(now, conn),
                    Some(Request::GoOn(takeover)) => self.on_warrant(now, takeover)?,
                    None => {}
                }
                Ok(())
            }
            Err(why) => {
                self.transmits.push_back(Transmit::Close { conn });
                Err(why)
            }
        }
    }

    pub(super) fn answer_manager(&mut self, conn: ConnId, frame: &Frame) {
        self.transmits.push_back(Transmit::Frame { conn, bytes: frame.encode() });
    }
}

impl ManagerConfig {
    /// Whether the node knows that it was evicted itself. A manager that has lost its store may have let it in all the same;
    /// it comes into the place of none that shut it out, and is told nothing that a standby is told.
    pub(super) fn is_shut_out(&self, member: &Member) -> bool {
        is_revoked(member, &self.identity, &self.certificate)
    }
}

fn is_revoked(member: &Member, identity: &str, certificate: &[u8; 32]) -> bool {
    let identity = Revocation::identity_hash(identity);
    member.revocations().any(|one| one.identity == identity || one.certificate == *certificate)
}
