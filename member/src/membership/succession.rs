//! A membership that outlives its manager: suspicions, another manager, renewed secrets (DESIGN: failover).

use std::net::{IpAddr, SocketAddr};

use crypto::{ExchangeSecret, PublicKey, Signer, Verifier};
use protocol::{
    Credential, Gate, Grant, Instant, Rejected, Renewal, StateId, Succession, Suspicion, Takeover, Verified,
    required_suspicions,
};

use super::{Effect, Membership};
use crate::member::Seat;

/// Managers before that are remembered, for revocations by them.
const MAX_FORMER: usize = 8;

impl Membership {
    /// What goes along when this node manages the subgroup from now on.
    pub(crate) fn into_seat(self) -> Option<Seat> {
        let (alarm, _) = self.newest_alarm?;
        Some(Seat {
            domain: self.grant.domain,
            sender: self.grant.sender,
            reg_no: self.grant.reg_no,
            activation: self.activation,
            known: self.known,
            hard: self.hard,
            credential: self.grant.credential,
            alarm,
            manager: self.grant.manager,
            former: self.former,
            manager_address: self.manager_address,
            registrar: self.registrar,
        })
    }

    /// The manager says where it takes connections. Within one start that never changes, so that an older presence, played
    /// again, says nothing.
    pub(crate) fn on_presence(&mut self, state: StateId, registrars: &[SocketAddr]) {
        if state.same_start(self.start)
            && let Some(registrar) = registrars.first()
        {
            self.registrar = *registrar;
        }
    }

    /// The keys of the managers before, newest first; the present one is not among them.
    pub(crate) fn former(&self) -> &[PublicKey] {
        &self.former
    }

    /// What the member would say against its manager, with the newest state it ever held. `None` if it has heard no alarm
    /// of that start, or misses the newest eviction: it may be the one that was evicted.
    pub(crate) fn suspicion(&self, signer: &dyn Signer) -> Option<Suspicion> {
        let alarm = self.alarm()?;
        let state =
            Some(self.reached).filter(|state| state.same_start(self.start) && state.epoch >= self.hard)?;
        let prefilter = self.gate.prefilter(state.epoch)?;
        let (domain, credential) = (&self.grant.domain, self.grant.credential);
        Some(Suspicion::sign(domain, (state, alarm.counter), credential, prefilter, signer))
    }

    /// Another member says that the manager is lost.
    pub(crate) fn on_suspicion(
        &mut self,
        now: Instant,
        from: IpAddr,
        datagram: &[u8],
    ) -> Result<Verified<Suspicion>, Rejected> {
        if self.alarm().is_none() {
            return Err(Rejected::OutOfPlace);
        }
        self.judging(false, |gate, succession| gate.suspicion(now, from, succession, datagram))
    }

    /// How many others must say so, and how many successors are in step; `None` before the first alarm.
    pub(crate) fn required(&self) -> Option<(usize, usize)> {
        let alarm = self.alarm()?;
        Some((required_suspicions(alarm.members), alarm.successors_in_step().len()))
    }

    /// Another node says that it is the manager now. Nothing is followed yet, and the member's own silence is for the
    /// caller to see to.
    pub(crate) fn on_takeover(
        &mut self,
        now: Instant,
        from: IpAddr,
        datagram: &[u8],
    ) -> Result<Verified<Takeover>, Rejected> {
        self.judging(true, |gate, succession| gate.takeover(now, from, succession, datagram))
    }

    /// Goes over to the new manager. The group keys stay until its first key update is active.
    pub(crate) fn follow_successor(&mut self, takeover: &Verified<Takeover>) {
        let office = takeover.office;
        self.gate.follow_successor(takeover);
        self.former.insert(0, std::mem::replace(&mut self.grant.manager, office.key));
        // One that manages again knows what it has signed: its list is compared as the manager's.
        self.former.retain(|key| *key != office.key);
        self.former.truncate(MAX_FORMER);
        self.newest_alarm = None;
        let _ = self.follow(office.start, office.address);
        self.manager_address = office.address;
        self.registrar = office.registrar;
        self.name_manager(&office.sender.to_string());
    }

    /// What the manager is called.
    pub(crate) fn name_manager(&mut self, identity: &str) {
        identity.clone_into(&mut self.manager);
    }

    /// The manager vouches for the member anew.
    pub(crate) fn on_credential(
        &mut self,
        credential: Credential,
        own: &PublicKey,
        verifier: &dyn Verifier,
    ) -> Result<(), Rejected> {
        let Grant { domain, manager, sender, .. } = &self.grant;
        let fits = credential.sender == *sender && credential.key == *own;
        if !fits || !credential.verify(domain, manager, verifier) {
            return Err(Rejected::NotAuthentic);
        }
        self.grant.credential = credential;
        Ok(())
    }

    /// Credentials and suspicions by the manager before count no more.
    pub(crate) const fn forget_former(&mut self) {
        self.gate.forget_former();
    }

    /// The manager renews the leaf secrets and the unicast keys. Returns what followed; `Err` if this member's are of
    /// later than that, or cannot be renewed by it: then it finds no answer, and registers again.
    pub(crate) fn on_renewal(
        &mut self,
        now: Instant,
        from: SocketAddr,
        own: &ExchangeSecret,
        datagram: &[u8],
    ) -> Result<Effect, Rejected> {
        let claimed = Renewal::claimed(&self.grant.domain, datagram)?;
        // A registration granted at that start or later never had the secrets before.
        if claimed.start.term <= self.grant.state.term
            || self.renewals.is_some_and(|own| claimed.number <= own)
        {
            return Err(Rejected::Duplicate);
        }
        // One was missed; its key is gone, and only a new registration helps.
        if self.renewals.is_some_and(|own| claimed.number > own.saturating_add(1)) {
            return Err(Rejected::OutOfPlace);
        }
        let renewal = self.gate.renewal(now, from.ip(), datagram)?;
        let mut effect = self.follow(renewal.start, from);
        let useless = |effect: Effect| match effect.restarted {
            Some(_) => Ok(effect),
            None => Err(Rejected::OutOfPlace),
        };
        let Ok(leaf) = self.path.leaf_at(renewal.leaf_steps) else { return useless(effect) };
        let domain = self.grant.domain;
        let Some((leaf, unicast)) =
            domain.renew(renewal.number, own, &renewal.key, (&leaf, &self.keys.unicast))
        else {
            return useless(effect);
        };
        self.path = self.path.renewed(leaf, renewal.leaf_steps);
        self.keys.unicast = unicast;
        self.renewals = Some(renewal.number);
        // The key update under the new secrets may have come before them.
        self.install_pending(&mut effect);
        Ok(effect)
    }

    fn judging<T>(
        &mut self,
        silent: bool,
        judge: impl FnOnce(&mut Gate, &Succession<'_>) -> Result<T, Rejected>,
    ) -> Result<T, Rejected> {
        let Self { gate, grant, newest_alarm, known, hard, start, .. } = self;
        let alarm = newest_alarm.as_ref().map(|(alarm, _)| alarm);
        let alarm = alarm.filter(|alarm| alarm.state.same_start(*start));
        let in_step = alarm.map(|alarm| alarm.successors_in_step()).unwrap_or_default();
        let succession = Succession {
            domain: &grant.domain,
            manager: grant.manager,
            former: gate.former(),
            known: *known,
            counter: alarm.map_or(0, |alarm| alarm.counter),
            in_step: &in_step,
            members: alarm.map_or(u32::MAX, |alarm| alarm.members),
            hard: *hard,
            silent,
        };
        judge(gate, &succession)
    }
}
