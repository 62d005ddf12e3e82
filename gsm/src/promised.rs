//! What members were promised in their grants and cannot follow a change of.

use std::net::SocketAddr;
use std::time::Duration;

use crypto::{PublicKey, Suite};
use keytree::Degree;
use protocol::{Malformed, Reader, Timing, Writer};

use crate::config::GsmConfig;

/// What a member learned from its grant and goes on believing through all restarts of its manager.
///
/// A manager that is started with another one of these cannot keep its members: it makes a new subgroup, and all
/// register again. The manager's own address is not among them, for members take the source of what they verify.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Promised {
    /// The cipher suite.
    pub suite: Suite,
    /// The key tree's degree.
    pub degree: Degree,
    /// Where control messages are multicast.
    pub control: SocketAddr,
    /// Where data is multicast.
    pub data: SocketAddr,
    /// The manager's signing key.
    pub manager: PublicKey,
    /// The times that members act on, in milliseconds: all but the rekey interval, in the order of [`Timing`].
    pub times: [u32; 11],
}

impl Promised {
    /// What a manager of this configuration and key promises.
    pub(crate) fn of(config: &GsmConfig, manager: PublicKey) -> Self {
        let GsmConfig { suite, degree, control, data, timing, .. } = config;
        Self {
            suite: *suite,
            degree: *degree,
            control: *control,
            data: *data,
            manager,
            times: times(timing).map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX)),
        }
    }

    /// The group's times, with the one that is not promised.
    pub(crate) fn timing(&self, rekey_interval: Duration) -> Timing {
        let [
            alarm_interval,
            silence,
            soft_activation,
            soft_cut,
            hard_activation,
            hard_cut,
            keepalive,
            nak_wait,
            nak_round,
            refresh,
            t_hard,
        ] = self.times.map(|millis| Duration::from_millis(u64::from(millis)));
        Timing {
            rekey_interval,
            alarm_interval,
            silence,
            soft_activation,
            soft_cut,
            hard_activation,
            hard_cut,
            keepalive,
            nak_wait,
            nak_round,
            refresh,
            t_hard,
        }
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.u16(self.suite.code()).u8(self.degree.get());
        writer.socket_addr(self.control).socket_addr(self.data).bytes(&self.manager.0);
        self.times.iter().for_each(|millis| {
            writer.u32(*millis);
        });
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let suite = Suite::from_code(reader.u16()?).ok_or(Malformed::Invalid("suite"))?;
        let degree = Degree::new(reader.u8()?).ok_or(Malformed::Invalid("degree"))?;
        let (control, data) = (reader.socket_addr()?, reader.socket_addr()?);
        let manager = PublicKey(reader.array()?);
        let mut times = [0; 11];
        for millis in &mut times {
            *millis = reader.u32()?;
        }
        Ok(Self { suite, degree, control, data, manager, times })
    }
}

/// The times members act on; the rekey interval, which they do not, may change while the manager runs.
const fn times(timing: &Timing) -> [Duration; 11] {
    let [_, promised @ ..] = timing.in_order();
    promised
}
